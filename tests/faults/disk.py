"""A disk that fails, or a process that is killed, at a chosen call that changes a file."""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Call:
    """One call, or several of the same kind on the same file in a row.

    Attributes:
        number: counted from 1.
        kind: "read" and "open" (a file opened for reading, for writing), "write", "flush", "close",
            or the name of the function of `os`: "replace", "fsync", "mkdir", ...
        path: below the watched directory, relative to it; where two are named, the second.
        root: the watched directory.
    """

    number: int
    kind: str
    path: str
    root: str

    @property
    def full(self) -> str:
        """The absolute path."""
        return os.path.join(self.root, self.path)


class Fault(Protocol):
    """What happens at a call."""

    def __call__(self, call: Call, do: Callable[[], Any], part: Callable[[], Any]) -> Any:
        """Makes the call by `do()`, half of it by `part()`, or something else."""
        ...


@dataclass(frozen=True)
class Kill:
    """Kills the process, as `kill -9` does, before a call or after it; a write in its middle."""

    at: int
    before: bool

    def __call__(self, call: Call, do: Callable[[], Any], part: Callable[[], Any]) -> Any:
        if call.number != self.at:
            return do()
        if not self.before:
            part()
        os.kill(os.getpid(), signal.SIGKILL)
        return None


@dataclass(frozen=True)
class Fail:
    """Lets a call fail with an error of the system, and those after it too where `lasting`."""

    at: int
    code: int
    lasting: bool = True

    def __call__(self, call: Call, do: Callable[[], Any], part: Callable[[], Any]) -> Any:
        reached = call.number >= self.at if self.lasting else call.number == self.at
        if not reached or call.kind not in FAILING[self.code]:
            return do()
        if call.kind == "close":
            do()
        # The system names a file where it was given a name, and none where it was given a number.
        named = call.kind in ("read", *_RIGHT)
        raise OSError(self.code, os.strerror(self.code), *([call.full] if named else []))


_ROOM = ("open", "write", "flush", "fsync", "close", "mkdir", "ftruncate")
_RIGHT = ("open", "mkdir", "replace", "rename", "unlink", "remove", "rmdir")
FAILING: dict[int, tuple[str, ...]] = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _RIGHT,
    errno.EACCES: ("read", *_RIGHT),
    errno.EIO: ("read", *_ROOM, *_RIGHT),
}
"""The calls that each error of the system comes from."""

_NAMES = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "fsync", "ftruncate", "link")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Disk:
    """Numbers the calls by which this process uses the files below a directory.

    Args:
        root: the directory; it need not be there yet.
        fault: what happens at the calls; None: they are only counted.

    Attributes:
        calls: made so far.
    """

    def __init__(self, root: Path, fault: Fault | None = None) -> None:
        self.root = str(root)
        self.fault = fault
        self.calls: list[Call] = []
        self._open, self._os_open = io.open, os.open

    def install(self) -> None:
        """Puts the disk below this process, for good: only in a process made for it."""
        for name in _NAMES:
            setattr(os, name, self._watched(name, getattr(os, name)))
        builtins.open = io.open = self._opened  # type: ignore[assignment]
        os.open = self._os_opened

    def call(
        self, kind: str, path: str, do: Callable[[], Any], part: Callable[[], Any] | None = None
    ) -> Any:
        """Makes a call, which has its number by now, or whatever the fault makes of it."""
        last = self.calls[-1] if self.calls else Call(0, "", "", "")
        if (kind, path) != (last.kind, last.path):
            last = Call(last.number + 1, kind, path, self.root)
            self.calls.append(last)
        return do() if self.fault is None else self.fault(last, do, part or do)

    def below(self, path: Any, dir_fd: int | None = None) -> str | None:
        """What a path or an open file is called below the root; None where it is not there."""
        if isinstance(path, int):
            name = os.readlink(f"/proc/self/fd/{path}")
        else:
            base = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
            name = os.path.normpath(os.path.join(base, os.fsdecode(path)))
        return os.path.relpath(name, self.root) if f"{name}/".startswith(f"{self.root}/") else None

    def _watched(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            two = kind in ("replace", "rename", "link")
            path, dir_fd = (args[1], "dst_dir_fd") if two else (args[0], "dir_fd")
            name = self.below(path, kwargs.get(dir_fd))
            if name is None:
                return function(*args, **kwargs)
            return self.call(kind, name, lambda: function(*args, **kwargs))

        return watched

    def _os_opened(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        name = self.below(path, kwargs.get("dir_fd"))
        if name is None:
            return self._os_open(path, flags, *args, **kwargs)
        kind = "open" if flags & _WRITING else "read"
        return self.call(kind, name, lambda: self._os_open(path, flags, *args, **kwargs))

    def _opened(self, path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        name, writes = self.below(path), any(letter in mode for letter in "wax+")
        if name is None:
            return self._open(path, mode, *args, **kwargs)
        if isinstance(path, int):  # counted by os.open
            file = self._open(path, mode, *args, **kwargs)
        else:
            kind = "open" if writes else "read"
            file = self.call(kind, name, lambda: self._open(path, mode, *args, **kwargs))
        return _File(self, file, name) if writes else file


class _File:
    """A file open for writing whose calls are numbered, where they have something to write."""

    def __init__(self, disk: Disk, file: Any, name: str) -> None:
        self._disk, self._file, self._name = disk, file, name
        self._pending = False

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._pending = True
        return self._disk.call("write", self._name, lambda: self._file.write(data), half)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._out("flush", self._file.flush)

    def close(self) -> None:
        if not self._file.closed:
            self._out("close", self._file.close)

    def _out(self, kind: str, do: Callable[[], None]) -> None:
        pending, self._pending = self._pending, False
        if pending:
            self._disk.call(kind, self._name, do)
        else:
            do()

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
