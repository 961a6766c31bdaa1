"""Processes of multiprocessing's fork server whose end may be waited for in several threads.

A forked process's exit code comes through a pipe, once. `multiprocessing` lets every thread that
asks for it read there, and the one that finds the pipe empty reports exit code 255 for the death of
any kind that another thread has read already.
"""

from __future__ import annotations

import os
import threading
from multiprocessing import connection, popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

_READING = threading.Lock()


class _Popen(popen_forkserver.Popen):
    """The fork server's process, whose exit code is read by one thread at a time."""

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """The exit code; None while there is none and `flag` says not to wait."""
        if flag != os.WNOHANG:
            connection.wait([self.sentinel])
        with _READING:
            return super().poll(os.WNOHANG)


class _ForkedProcess(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:
        return _Popen(process_obj)


class ForkedContext(ForkServerContext):
    """multiprocessing's context "forkserver", whose processes several threads may wait for."""

    Process = _ForkedProcess
