from __future__ import annotations

import pytest
import torch

from symadj.errors import (
    IncompatibleError,
    InputError,
    MaxStepsExceeded,
    MemoryBudgetExceeded,
    NewtonError,
    NoEventError,
    NonFiniteError,
    NonFiniteLoss,
    StepSizeUnderflow,
)
from symadj.records.status import is_result, status_of, story_of
from symadj.run.interrupt import Interrupted

WHERE = {"phase": "backward", "t": 0.25, "h": 1e-3, "steps": 9, "rejects": 2, "largest": 4.0}


def cpu_out_of_memory() -> BaseException:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(2**55, dtype=torch.uint8)
    return raised.value


@pytest.mark.parametrize(
    ("error", "status", "result"),
    [
        (NonFiniteError("x", **WHERE), "nonfinite", True),
        (StepSizeUnderflow("x", **WHERE), "dt_underflow", True),
        (MaxStepsExceeded("x", **WHERE), "step_limit", True),
        (NoEventError("x", **WHERE), "no_event", True),
        (NewtonError("x", **WHERE), "not_solved", True),
        (NonFiniteLoss("x"), "nonfinite", True),
        (MemoryBudgetExceeded("x"), "oom", True),
        (MemoryError(), "oom", True),
        (torch.OutOfMemoryError("CUDA out of memory."), "oom", True),
        (cpu_out_of_memory(), "oom", True),
        (IncompatibleError("x"), "incompatible", False),
        (InputError("x"), "error", False),
        (RuntimeError("a shape is wrong"), "error", False),
        (Interrupted(2), "interrupted", False),
        (KeyboardInterrupt(), "interrupted", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_every_ending_has_its_status(error: BaseException, status: str, result: bool) -> None:
    assert status_of(error) == status
    assert is_result(error) is result


def test_the_story_of_a_failed_solve_has_its_diagnosis() -> None:
    story = story_of(NonFiniteError("the state is not finite", **WHERE))
    assert story["type"] == "NonFiniteError"
    assert story["details"] == WHERE
    assert "phase backward" in story["message"]
    assert story_of(MemoryError())["message"] == "MemoryError"
