"""A function in a process of its own: its memory, its crash or its death touches nothing else.

The processes are pebble's (`pebble.concurrent.process`): forked from a server that has imported
torch already and has run nothing, where the system can do that; started anew elsewhere.
"""

from __future__ import annotations

import contextlib
import faulthandler
import itertools
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout  # another one before Python 3.11
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from pebble import CONSTS, ProcessExpired, concurrent

from symadj.errors import SymadjError, TimeLimitExceeded
from symadj.files import open_file
from symadj.memory import memory_kills
from symadj.records.status import Status, status_of, story_of
from symadj.run.allocator import keep_freed_memory

GRACE = 10.0
"""Seconds that a process is given to end by itself once it was asked to."""
CONSTS.term_timeout = GRACE

# The last is what torch's optimisers import when the first of them is made: a second of every job.
_PRELOADED = ["symadj.launch.run", "symadj.bench.measure", "torch._dynamo"]
_LAST_WORDS = 2000
_SPELL = 0.2
_numbers = itertools.count()


class ProcessKilled(SymadjError, RuntimeError):
    """A job's process was killed from outside."""

    status = "interrupted"


class OutOfMemoryKilled(SymadjError, MemoryError):
    """The system ran out of memory and killed a job's process."""

    status = "oom"


class ProcessCrashed(SymadjError, RuntimeError):
    """A job's process died without an answer."""


@dataclass(frozen=True)
class Ending:
    """How a function in a process of its own ended.

    Attributes:
        status: "ok", or a failed run's status as in a run record.
        value: what the function returned; None where it failed.
        error: None, or type, message, details and traceback, as in a run record.
    """

    status: Status
    value: Any = None
    error: dict[str, Any] | None = None


@dataclass(frozen=True)
class _Call:
    """What a process is to do, and what it is to find around it."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    output: Path | None
    threads: int | None
    argv: list[str]
    folder: str
    environment: dict[str, str]


class Process:
    """A function that runs in a process of its own.

    Args:
        function: at the top of a module that another process can import.
        arguments: of it; they are pickled, and so is what it returns.
        time_limit: seconds after which the process is ended; None: none.
        output: a file that what it prints is appended to; None: it is printed here. The end of the
            file is in the message of a crash.
        threads: of torch on the CPU; None: torch's own choice.
        environment: variables that are set in the process besides those of this one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        time_limit: float | None = None,
        output: Path | None = None,
        threads: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._output = output
        self._time_limit = time_limit
        self._kills = memory_kills()
        self._name = f"symadj-{next(_numbers)}"
        around = {**os.environ, **(environment or {})}
        call = _Call(function, arguments, output, threads, sys.argv, os.getcwd(), around)
        options: dict[str, Any] = {"context": _context()}  # its annotation has another name
        start = concurrent.process(name=self._name, daemon=False, timeout=time_limit, **options)
        with main_unseen():
            self._future: Future[Ending] = start(_serve)(call)

    def when_done(self, then: Callable[[Ending], object]) -> None:
        """Calls `then` with the ending, in a thread of its own, once there is one."""
        self._future.add_done_callback(lambda _: then(self.ending()))

    def ending(self) -> Ending:
        """Waits for the end.

        Returns:
            The function's value, or its failure: an exception of its own by `status_of`; killed by
            the system for want of memory "oom"; killed otherwise, or over its time, "interrupted";
            a crash "error".

        Raises:
            KeyboardInterrupt: Ctrl-C here; the process has ended by then.
        """
        try:
            return self._answer()
        except FutureTimeout:
            return _failure(
                TimeLimitExceeded(f"ended after its time limit of {self._time_limit} s")
            )
        except CancelledError:
            return _failure(ProcessKilled("the process was ended"))
        except ProcessExpired as death:
            # The system counts what it has killed a moment after the process is gone.
            memory_ran_out = memory_kills() > self._kills
            return _failure(_death(death.exitcode, memory_ran_out, self._last_words()))
        except BaseException:
            self.ask_to_end()
            self.end()
            raise

    def _answer(self) -> Ending:
        # In spells: an interrupt that was raised without a signal of the system wakes no lock.
        while True:
            try:
                return self._future.result(_SPELL)
            except FutureTimeout:
                if self._future.done():
                    raise

    def ask_to_end(self) -> None:
        """Asks the process to end, as Ctrl-C does; a training saves its checkpoint first."""
        for process in multiprocessing.active_children():
            if process.name == self._name:
                process.terminate()

    def end(self, grace: float = GRACE) -> None:
        """Waits for a process that was asked to end, and kills it where it does not."""
        deadline = time.monotonic() + grace
        while not self._future.done() and time.monotonic() < deadline:
            time.sleep(0.02)
        for process in multiprocessing.active_children():
            if process.name == self._name:
                process.join(max(0.0, deadline - time.monotonic()))
                if process.is_alive():
                    process.kill()
                    process.join()

    def _last_words(self) -> str:
        if self._output is None:
            return ""
        with contextlib.suppress(OSError), open_file(self._output, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LAST_WORDS))
            return file.read().decode(errors="replace").strip()
        return ""


def run_isolated(function: Callable[..., Any], *arguments: Any, **options: Any) -> Ending:
    """Calls function(*arguments) in a process of its own and waits; what it prints is dropped.

    Args:
        function, arguments, options: as `Process` takes them.
    """
    with tempfile.TemporaryDirectory(prefix="symadj-") as folder:
        output = Path(folder) / "output.txt"
        return Process(function, *arguments, output=output, **options).ending()


@contextlib.contextmanager
def main_unseen() -> Iterator[None]:
    """Within it a process that is started does not run this process's main script once more, which
    may do more than to define things."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _context() -> Any:
    """How processes are started: see this module's head."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    from symadj.run.forked import ForkedContext

    context = ForkedContext()
    context.set_forkserver_preload(_PRELOADED)
    return context


def _serve(call: _Call) -> Ending:
    """The process's side: prepares itself, calls the function, says how that ended."""
    before = signal.getsignal(signal.SIGTERM)
    _prepare(call)
    try:
        return Ending(Status.OK, call.function(*call.arguments))
    except BaseException as error:
        return Ending(status_of(error), error=story_of(error))
    finally:
        signal.signal(signal.SIGTERM, before)  # the pool's, which ends an idle process


def _prepare(call: _Call) -> None:
    # Ctrl-C at the terminal is for the process that waits, which asks this one to end.
    if hasattr(os, "setpgrp"):
        os.setpgrp()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "pthread_sigmask"):  # what blocks signals may have started this process
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.clear()
    os.environ.update(call.environment)
    os.chdir(call.folder)
    sys.argv[:] = call.argv  # records say by which command they were made
    if call.output is not None:
        _print_to(call.output)
    faulthandler.enable()
    # Where memory runs out, the system is to end this process and not the one that waits for it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    keep_freed_memory()
    if call.threads is not None:
        torch.set_num_threads(call.threads)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Asks this process to end when the one that waits for it dies."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _print_to(output: Path) -> None:
    with open_file(output, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    # The streams of a process without a terminal may not be there at all.
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _stream(descriptor: int) -> TextIO:
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _failure(error: SymadjError) -> Ending:
    return Ending(status_of(error), error=story_of(error))


def _death(code: int, memory_ran_out: bool, last_words: str) -> SymadjError:
    """What a process's exit code without an answer means."""
    if code == -signal.SIGKILL and memory_ran_out:
        return OutOfMemoryKilled("the system ran out of memory and killed the process")
    if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT):
        return ProcessKilled(f"the process was killed by {signal.Signals(-code).name}")
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    more = f": {last_words}" if last_words else ""
    return ProcessCrashed(f"the process {how} without an answer{more}")
