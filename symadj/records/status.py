"""How runs end: the statuses, and what an exception means for a run."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from enum import Enum
from typing import Any

import torch

from symadj.errors import InputError, SolveError, SymadjError


class Status(str, Enum):
    """How a run, or a job, ended; equal to its word, as it stands in records.

    Attributes:
        text: what a table shows in place of a figure.
        counts: whether it is a result: the same command would come to it again.
    """

    OK = "ok", "", True
    OUT_OF_MEMORY = "oom", "OOM", True
    NONFINITE = "nonfinite", "non-finite", True
    STEP_UNDERFLOW = "dt_underflow", "step underflow", True
    STEP_LIMIT = "step_limit", "step limit", True
    NOT_SOLVED = "not_solved", "not solved", True
    NO_EVENT = "no_event", "no event", True
    INCOMPATIBLE = "incompatible", "incompatible", True
    PRUNED = "pruned", "pruned", True
    STORAGE = "storage", "storage failed", False
    INTERRUPTED = "interrupted", "interrupted", False
    ERROR = "error", "error", False
    RUNNING = "running", "running", False

    text: str
    counts: bool

    def __new__(cls, word: str, text: str, counts: bool) -> Status:
        member = str.__new__(cls, word)
        member._value_, member.text, member.counts = word, text, counts
        return member

    def __str__(self) -> str:
        return self.value

    @property
    def failed(self) -> bool:
        """Whether it is a failure: neither a result in full, nor cut short on purpose or at it."""
        return self not in (Status.OK, Status.PRUNED, Status.RUNNING)


# Where torch raises a plain RuntimeError. The CPU allocator's text depends on the system.
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)


def status_of(error: BaseException) -> Status:
    """The status of a record that ends with this exception."""
    if isinstance(error, KeyboardInterrupt):
        return Status.INTERRUPTED
    if isinstance(error, SymadjError):
        return Status(error.status)
    return Status.OUT_OF_MEMORY if is_out_of_memory(error) else Status.ERROR


def overall(statuses: Iterable[Status]) -> Status:
    """The status of several records as one: ok where one is, and none has failed by mistake."""
    found = set(statuses)
    return Status.OK if Status.OK in found and Status.ERROR not in found else Status.ERROR


def is_result(error: BaseException) -> bool:
    """Whether the failure is an outcome of the experiment rather than of a mistake.

    Out of memory, a diverged or stuck solve: the run returns its record. A bad setting, an
    interrupt or a bug: the run raises.
    """
    if isinstance(error, (InputError, KeyboardInterrupt)):
        return False
    return status_of(error) is not Status.ERROR


def story_of(error: BaseException) -> dict[str, Any]:
    """The exception as a record's `error`."""
    details = error.details() if isinstance(error, SolveError) else {}
    return {
        "type": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "details": details,
        "traceback": "".join(traceback.format_exception(error)),
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: the machine's, the GPU's, or a budget."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None
