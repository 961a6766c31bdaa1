"""Ctrl-C and SIGTERM: at once where nothing can be torn, after the block where something can."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interrupted(KeyboardInterrupt):
    """The run was asked to end.

    Attributes:
        signum: the signal: SIGINT (Ctrl-C) or SIGTERM.
        exit_status: what a command that ends by this signal exits with (130 for Ctrl-C).
    """

    def __init__(self, signum: int) -> None:
        self.signum = signum
        self.exit_status = 128 + signum
        super().__init__(f"interrupted by {signal.Signals(signum).name}")


class InterruptGuard:
    """Raises `Interrupted` on SIGINT and SIGTERM, but never inside `critical()`.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._depth = 0
        self._pending: int | None = None
        self._former: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._former[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._former.items():
            signal.signal(signum, handler)
        self._former = {}

    @contextmanager
    def critical(self) -> Iterator[None]:
        """Holds a signal back until the block has ended."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
        if self._pending is not None and self._depth == 0:
            signum, self._pending = self._pending, None
            raise Interrupted(signum)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._depth:
            self._pending = signum
        else:
            raise Interrupted(signum)
