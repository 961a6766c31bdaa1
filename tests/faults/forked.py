"""Runs a piece of work in a forked child of this process: its death and its patches touch no test.

The child starts with everything imported, so a case takes a fraction of a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: its exit status; None where a signal ended it.
        signal: the name of that signal, "" for none; "no end" where it did not end in time.
        out, err: what it wrote to standard output and standard error.
        left: what the work told by its `tell`, in JSON; None where it did not.
    """

    code: int | None
    signal: str
    out: str
    err: str
    left: Any

    @property
    def text(self) -> str:
        """All that was written, for messages of assertions too."""
        return f"{self.out}\n{self.err}"


def in_child(
    work: Callable[[], int | None],
    *,
    before: Callable[[], object] | None = None,
    tell: Callable[[], Any] | None = None,
    seconds: int = 20,
    cwd: Path | None = None,
) -> Ended:
    """Does the work in a child process and waits for it.

    Args:
        work: returns the exit status; what it raises ends the child as it would end a command.
        before: called in the child before the work, to plant what is to happen.
        tell: called in the child when the work has ended by itself.
        seconds: after which the child is killed, whatever it waits for.
        cwd: the child's working directory.
    """
    with tempfile.TemporaryDirectory() as name:
        out, err, left = (Path(name, stem) for stem in ("out", "err", "left"))
        pid = os.fork()
        if pid == 0:
            _child(work, before, tell, cwd, (out, err, left))
        code, ended = _wait(pid, seconds)
        return Ended(
            code=code,
            signal=ended,
            out=out.read_text(encoding="utf-8", errors="surrogateescape"),
            err=err.read_text(encoding="utf-8", errors="surrogateescape"),
            left=json.loads(left.read_text() or "null"),
        )


def _wait(pid: int, seconds: float) -> tuple[int | None, str]:
    """The exit status of a child, or the signal that ended it."""
    end = time.monotonic() + seconds
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < end:
        time.sleep(0.002)
    if found[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return None, "no end"
    code = os.waitstatus_to_exitcode(found[1])
    return (code, "") if code >= 0 else (None, signal.Signals(-code).name)


def _child(
    work: Callable[[], int | None],
    before: Callable[[], object] | None,
    tell: Callable[[], Any] | None,
    cwd: Path | None,
    files: Sequence[Path],
) -> None:
    code = 1
    try:
        if cwd is not None:
            os.chdir(cwd)
        fds = [os.open(path, os.O_WRONLY | os.O_CREAT) for path in files]
        os.dup2(fds[0], 1)
        os.dup2(fds[1], 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        if before is not None:
            before()
        code = _status(work)
        sys.stdout.flush()
        sys.stderr.flush()
        if tell is not None:
            os.write(fds[2], json.dumps(tell()).encode())
    finally:
        os._exit(code)


def _status(work: Callable[[], int | None]) -> int:
    """The exit status that Python would end with."""
    try:
        return work() or 0
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
