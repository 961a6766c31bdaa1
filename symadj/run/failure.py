"""What an exception means for a run: its status, and its story for the record."""

from __future__ import annotations

import traceback
from typing import Any

from symadj.errors import InputError, SolveError, SymadjError
from symadj.run.measure import is_out_of_memory


class NonFiniteLoss(SymadjError, ArithmeticError):
    """The loss, or a validation's metric, became infinite or NaN."""

    status = "nonfinite"


def status_of(error: BaseException) -> str:
    """The status of a record that ends with this exception."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SymadjError):
        return error.status
    return "oom" if is_out_of_memory(error) else "error"


def is_result(error: BaseException) -> bool:
    """Whether the failure is an outcome of the experiment rather than of a mistake.

    Out of memory, a diverged or stuck solve: the run returns its record. A bad setting, an
    interrupt or a bug: the run raises.
    """
    return not isinstance(error, (InputError, KeyboardInterrupt)) and status_of(error) != "error"


def story_of(error: BaseException) -> dict[str, Any]:
    """The exception as a record's `error`."""
    details = error.details() if isinstance(error, SolveError) else {}
    return {
        "type": type(error).__name__,
        "message": str(error) or type(error).__name__,
        "details": details,
        "traceback": "".join(traceback.format_exception(error)),
    }
