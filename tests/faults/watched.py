"""What a process does beyond its own run: files it writes, programs it starts, modules it loads."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_PATHS = {  # event: which of its arguments are paths that it changes
    **dict.fromkeys(("os.mkdir", "os.remove", "os.rmdir", "os.truncate"), (0,)),
    **dict.fromkeys(("os.chmod", "os.utime", "shutil.rmtree"), (0,)),
    **dict.fromkeys(("os.rename", "os.link", "os.symlink"), (0, 1)),
}
_DEEDS = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "socket.connect",
    "pty.spawn",
)
# git says which commit a record is of; the others are the system's or Python's own.
_ALLOWED = (tempfile.gettempdir() + "/symadj-", "/dev/", "/proc/self/")


class Watch:
    """Notes the deeds of this process, by the interpreter's audit events.

    Args:
        allowed: directories that it may write below.
        foreign: modules that it must not load.
        memory: bytes that it may take beyond those that it has.
    """

    def __init__(self, allowed: Sequence[Path], foreign: Sequence[str], memory: int) -> None:
        self.allowed = (*_ALLOWED, *(os.path.realpath(path) + "/" for path in allowed))
        self.foreign = foreign
        self.memory = memory
        self.deeds: list[str] = []

    def install(self) -> None:
        """Watches from here on: only in a process made for it."""
        sys.dont_write_bytecode = True
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + self.memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            if mode is None and flags & _WRITING:  # os.open
                self._wrote(event, path, follows=not flags & os.O_NOFOLLOW)
            elif any(letter in (mode or "") for letter in "wax+"):
                # Whether a link is followed is for its opener to say, which is seen by itself.
                self._wrote(event, path, follows=False)
        elif event in _PATHS:
            for number in _PATHS[event]:
                self._wrote(event, arguments[number], follows=False)
        elif event == "import" and arguments[0].split(".")[0] in self.foreign:
            self.deeds.append(f"import {arguments[0]}")
        elif event in _DEEDS and not str(arguments[0]).endswith("git"):  # of a record's commit
            self.deeds.append(f"{event} {arguments}")

    def _wrote(self, event: str, path: Any, follows: bool) -> None:
        if isinstance(path, int):
            return
        name = os.path.abspath(os.fsdecode(path))
        folder, base = os.path.split(name)
        real = os.path.realpath(name) if follows else os.path.join(os.path.realpath(folder), base)
        if not f"{real}/".startswith(self.allowed):
            self.deeds.append(f"{event} {real}")
