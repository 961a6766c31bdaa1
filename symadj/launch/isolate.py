"""A job in a process of its own: its memory, its crash or its death touches nothing else."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import importlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from symadj.errors import SymadjError, TimeLimitExceeded
from symadj.files import write_text
from symadj.records.status import Status, status_of, story_of
from symadj.run.allocator import keep_freed_memory

GRACE = 10.0
"""Seconds that a process is given to end by itself once it was asked to."""

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <sys/prctl.h>
_JOB, _ANSWER = "job.json", "answer.json"
# The child looks for modules where its parent does, be symadj installed or not.
_BOOT = (
    "import json, sys; folder = sys.argv[1]; "
    f"sys.path[:] = json.load(open(folder + '/{_JOB}', encoding='utf-8'))['path']; "
    "from symadj.launch.isolate import serve; serve(folder)"
)


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
    """How an isolated job ended.

    Attributes:
        status: "ok", or a failed run's status as in a run record.
        value: what the job returned; None where it failed.
        error: None, or type, message, details and traceback, as in a run record.
    """

    status: Status
    value: Any = None
    error: dict[str, Any] | None = None


def run_isolated(
    job: Callable[[Any], Any],
    argument: Any,
    *,
    time_limit: float | None = None,
    quiet: bool = False,
) -> Ending:
    """Calls job(argument) in a fresh Python process and waits for it.

    Args:
        job: a function that a module can be asked for by its name (no lambda, nothing of
            `__main__`); it returns what JSON can hold.
        argument: what JSON can hold.
        time_limit: seconds after which the process is ended; None: none.
        quiet: whether what the job prints is kept from the terminal. The end of its standard error
            is then in the message of a crash.

    Returns:
        The job's value, or its failure: an exception of its own by `status_of`; killed by the
        system for want of memory "oom"; killed otherwise, or over its time, "interrupted"; a
        crash "error".

    Raises:
        KeyboardInterrupt: Ctrl-C here; the process has ended by then.
    """
    with tempfile.TemporaryDirectory(prefix="symadj-") as name:
        folder = Path(name)
        described = {
            "path": sys.path,
            "argv": sys.argv,
            "function": _address(job),
            "argument": argument,
        }
        write_text(folder / _JOB, json.dumps(described))
        with open(folder / "stderr.txt", "w+b") as errors:
            kills = _memory_kills()
            process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, str(folder)],
                stdout=subprocess.DEVNULL if quiet else None,
                stderr=errors if quiet else None,
            )
            if not _ended(process, time_limit):
                return _failure(TimeLimitExceeded(f"ended after its time limit of {time_limit} s"))
            answer = folder / _ANSWER
            if process.returncode == 0 and answer.exists():
                told = json.loads(answer.read_text(encoding="utf-8"))
                return Ending(**told | {"status": Status(told["status"])})
            return _failure(_death(process.returncode, _memory_kills() > kills, _tail(errors)))


def serve(folder: str) -> None:
    """The child's side: does the job that was written to the folder and writes its answer there."""
    faulthandler.enable()
    _end_with_parent()
    # Where memory runs out, the system is to end this process and not the one that waits for it.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    described = json.loads(Path(folder, _JOB).read_text(encoding="utf-8"))
    # Records say by which command they were made.
    sys.argv[:] = described["argv"]
    try:
        module, _, name = described["function"].partition(":")
        keep_freed_memory()
        function = getattr(importlib.import_module(module), name)
        answer = {"status": "ok", "value": function(described["argument"])}
        text = json.dumps(answer)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        text = json.dumps({"status": status_of(error), "error": story_of(error)})
    write_text(Path(folder, _ANSWER), text)


def _end_with_parent() -> None:
    """Has the system ask this process to end, as Ctrl-C does, when the one that waits for it dies.

    Linux alone can do that; elsewhere a job goes on by itself.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGTERM), 0, 0, 0)


def _address(job: Callable[..., Any]) -> str:
    assert job.__module__ != "__main__", f"{job} cannot be imported by another process"
    assert "." not in job.__qualname__, f"{job} is not at the top of its module"
    return f"{job.__module__}:{job.__qualname__}"


def _ended(process: subprocess.Popen[bytes], time_limit: float | None) -> bool:
    """Waits for the process; False where its time was over and it had to be ended."""
    try:
        process.wait(time_limit)
    except subprocess.TimeoutExpired:
        _end(process)
        return False
    except BaseException:
        # Ctrl-C in a terminal reaches the process as well: it may be ending already.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1.0)
        _end(process)
        raise
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks the process to end, waits, and kills it where it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _failure(error: SymadjError) -> Ending:
    return Ending(Status(error.status), error=story_of(error))


def _death(code: int, memory_ran_out: bool, tail: str) -> SymadjError:
    """What a process's exit code without an answer means."""
    if code == -signal.SIGKILL and memory_ran_out:
        return OutOfMemoryKilled("the system ran out of memory and killed the process")
    if code in (-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, 128 + signal.SIGINT):
        name = signal.Signals(-code if code < 0 else code - 128).name
        return ProcessKilled(f"the process was killed by {name}")
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
    return ProcessCrashed(f"the process {how} without an answer{tail and ': '}{tail}")


def _tail(errors: BinaryIO) -> str:
    """The end of what the process wrote to standard error."""
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()[-2000:]


def _memory_kills() -> int:
    """How many processes Linux has killed for want of memory since it started; 0 elsewhere."""
    try:
        text = Path("/proc/vmstat").read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if "oom_kill " in line)
    except (OSError, StopIteration):
        return 0
