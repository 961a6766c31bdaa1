"""Runs a piece of work in a forked child of this process: its death and its patches touch no test.

The child starts with everything imported, so a case takes a fraction of a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
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
        signal: the name of that signal, "" for none; "SIGALRM" where its time was over.
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
        seconds: after which the system kills the child, whatever it waits for.
        cwd: the child's working directory.
    """
    with tempfile.TemporaryDirectory() as name:
        out, err, left = (Path(name, stem) for stem in ("out", "err", "left"))
        pid = os.fork()
        if pid == 0:
            _child(work, before, tell, seconds, cwd, (out, err, left))
        _, status = os.waitpid(pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return Ended(
            code=code if code >= 0 else None,
            signal="" if code >= 0 else signal.Signals(-code).name,
            out=out.read_text(encoding="utf-8", errors="surrogateescape"),
            err=err.read_text(encoding="utf-8", errors="surrogateescape"),
            left=json.loads(left.read_text() or "null"),
        )


def _child(
    work: Callable[[], int | None],
    before: Callable[[], object] | None,
    tell: Callable[[], Any] | None,
    seconds: int,
    cwd: Path | None,
    files: Sequence[Path],
) -> None:
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(seconds)
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
