"""Signals and time limits: at once where nothing can be torn, else after the block.

Ctrl-C, SIGTERM and SIGHUP end a run, SIGUSR1 asks it for a checkpoint, SIGALRM tells it that its
time is up. All of them reach into a solve.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any

_HANGUP = getattr(signal, "SIGHUP", None)
_ENDING = (signal.SIGINT, signal.SIGTERM, *([] if _HANGUP is None else [_HANGUP]))
_CHECKPOINT = getattr(signal, "SIGUSR1", None)
_ALARM = getattr(signal, "SIGALRM", None)
AT_ONCE = 3
"""So many Ctrl-C end the process at once, whatever it is at."""


class Interrupted(KeyboardInterrupt):
    """The run was asked to end.

    Attributes:
        signum: the signal: SIGINT (Ctrl-C), SIGTERM or SIGHUP.
        exit_status: what a command that ends by this signal exits with (130 for Ctrl-C).
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.exit_status = 128 + signum
        super().__init__(f"interrupted by {signal.Signals(signum).name}")


class TimeIsUp(BaseException):
    """The seconds of a `time_limit` are over."""


class InterruptGuard:
    """Raises `Interrupted` on the signals that end a run, but never inside `critical()`.

    Guards may be nested; the innermost one gets the signals. Outside the main thread, where Python
    delivers no signals, a guard does nothing.

    Args:
        to_the_end: the process ends with this guard: a signal after its block is taken to be one
            more of those that ended it, and says nothing.

    Attributes:
        checkpoint_asked: whether SIGUSR1 has come; the run sets it back.
    """

    _open = 0  # guards, one inside the other
    _asked: Interrupted | None = None  # the first signal that was to end what is done
    _interrupts = 0  # Ctrl-C so far, of all of them: an inner one may have raised already

    def __init__(self, to_the_end: bool = False) -> None:
        self.checkpoint_asked = False
        self._to_the_end = to_the_end
        self._depth = 0
        self._pending: BaseException | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            if InterruptGuard._open == 0:
                InterruptGuard._interrupts = 0
                InterruptGuard._asked = None
            InterruptGuard._open += 1
            for signum in filter(None, (*_ENDING, _CHECKPOINT, _ALARM)):
                # What `nohup` has the process ignore stays ignored.
                if signum != _HANGUP or signal.getsignal(signum) is not signal.SIG_IGN:
                    self._former[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._former:
            InterruptGuard._open -= 1
        for signum, handler in self._former.items():
            at_end = self._to_the_end and signum in _ENDING
            signal.signal(signum, _end_at_once if at_end else handler)
        self._former = {}

    @staticmethod
    def check() -> None:
        """Raises `Interrupted` once more where it was raised and lost: in a finalizer, which Python
        lets no exception out of. For loops that end with the first signal."""
        if InterruptGuard._open and InterruptGuard._asked is not None:
            raise InterruptGuard._asked

    @contextmanager
    def critical(self) -> Iterator[None]:
        """Holds a signal back until the block has ended."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending is not None and self._depth == 0:
            error, self._pending = self._pending, None
            raise error

    def take(self) -> int:
        """The signal that `critical()` holds back, which is forgotten; 0: none is held back."""
        if not isinstance(self._pending, Interrupted):
            return 0
        error, self._pending = self._pending, None
        return error.signum

    @contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Raises `TimeIsUp` in the block once it has taken so many seconds of wall-clock."""
        if _ALARM not in self._former:
            yield
            return
        # Again and again, should some code swallow the first one.
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3), 1.0)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if isinstance(self._pending, TimeIsUp):
                self._pending = None

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if signum == _CHECKPOINT:
            self.checkpoint_asked = True
            return
        if signum == signal.SIGINT:
            self._count()
        error = TimeIsUp() if signum == _ALARM else Interrupted(signum)
        if isinstance(error, Interrupted):
            InterruptGuard._asked = InterruptGuard._asked or error
        if not self._depth:
            raise error
        if not isinstance(self._pending, Interrupted):
            self._pending = error

    def _count(self) -> None:
        InterruptGuard._interrupts += 1
        if InterruptGuard._interrupts >= AT_ONCE:
            _tell(f"ended at once after {AT_ONCE} Ctrl-C")
            _end_at_once(signal.SIGINT, None)
        if InterruptGuard._interrupts == AT_ONCE - 1:
            _tell("ending: what was done is being saved; Ctrl-C once more ends at once")


def _tell(text: str) -> None:
    # Not through sys.stderr, which may be in the middle of a line.
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    os._exit(128 + signum)
