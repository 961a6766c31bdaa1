"""The error types of symadj, each with the status that a run record gives it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SymadjError(Exception):
    """Base of every error that symadj raises on purpose."""

    status: str = "error"


class InputError(SymadjError, ValueError):
    """An argument, setting or file that cannot be used; the message says what is allowed."""


class IncompatibleError(InputError):
    """Two settings that are fine alone and impossible together."""

    status: str = "incompatible"


class CapturedTensorError(InputError):
    """The field uses a tensor that needs a gradient and that no gradient method could reach."""


class DoubleBackwardError(SymadjError, RuntimeError):
    """A gradient of a gradient was asked of a method that computes first derivatives only."""


class FieldChangedError(SymadjError, RuntimeError):
    """The field was another one in the backward pass than in the solve, so no gradient is right."""


class ReversalError(SymadjError, RuntimeError):
    """The backward pass of a reversible method came back to another start than it began at."""


class MemoryBudgetExceeded(SymadjError, MemoryError):
    """A metered step needed more memory than its budget allows."""

    status: str = "oom"


class NothingFits(MemoryBudgetExceeded):
    """No gradient method is predicted to stay within the memory that `grad=auto` was given."""


class StorageError(SymadjError, OSError):
    """A file could not be written or not be read: a full disk, no permission, a lost directory."""

    status: str = "storage"


class TimeLimitExceeded(SymadjError, TimeoutError):
    """A training or a job took longer than it was allowed to, and was ended."""

    status: str = "interrupted"


class RankFailed(SymadjError, RuntimeError):
    """Another process of a run on many devices has failed, or was lost.

    Attributes:
        status: that of its failure.
    """

    def __init__(self, message: str, status: str = "interrupted") -> None:
        self.status = status
        super().__init__(message)


class Pruned(SymadjError):
    """A trial of a search was ended because its validations are worse than those of others."""

    status = "pruned"


class SolveError(SymadjError, RuntimeError):
    """A solve that could not reach its end.

    Attributes:
        phase: "forward" or "backward".
        t: the time reached.
        h: the step size of the last attempt (signed).
        steps: accepted steps.
        rejects: rejected steps.
        largest: the largest absolute entry of the state at `t`.
        samples: of a solve with batch="independent": the samples that have failed; t, h, steps,
            rejects and largest are the first one's.
    """

    def __init__(
        self,
        message: str,
        *,
        phase: str,
        t: float,
        h: float,
        steps: int,
        rejects: int,
        largest: float,
        samples: tuple[int, ...] = (),
    ) -> None:
        self.phase = phase
        self.t = t
        self.h = h
        self.steps = steps
        self.rejects = rejects
        self.largest = largest
        self.samples = samples
        where = (
            f"phase {phase}, t={t:.9g}, h={h:.3g}, steps={steps}, rejected={rejects}, "
            f"largest |y|={largest:.3g}"
        )
        super().__init__(f"{message} [{where}]")

    def details(self) -> dict[str, float | int | str]:
        """The diagnosis as plain values, for a run record."""
        return {
            "phase": self.phase,
            "t": self.t,
            "h": self.h,
            "steps": self.steps,
            "rejects": self.rejects,
            "largest": self.largest,
        }


class NonFiniteError(SolveError):
    """The state or the field's value became infinite or NaN."""

    status: str = "nonfinite"


class StepSizeUnderflow(SolveError):
    """The tolerance would need steps below the resolution of time."""

    status: str = "dt_underflow"


class NewtonError(SolveError):
    """The equations of an implicit step, or of its adjoint, were not solved."""

    status: str = "not_solved"


class MaxStepsExceeded(SolveError):
    """The solve needed more than `max_steps` attempted steps."""

    status: str = "step_limit"


class NoEventError(SolveError):
    """A solve that was to end at an event found none."""

    status: str = "no_event"


def suggest(given: object, allowed: Iterable[str]) -> str:
    """Says which names are allowed and, where one is near, which was probably meant."""
    names = sorted(allowed)
    alike = [difflib.SequenceMatcher(None, name, str(given)).ratio() for name in names]
    # Of names that are equally near, the first.
    best = max(range(len(names)), key=alike.__getitem__, default=0)
    hint = f" Did you mean '{names[best]}'?" if names and alike[best] >= 0.5 else ""
    return f"{hint} Allowed: {', '.join(names)}."


class NonFiniteLoss(SymadjError, ArithmeticError):
    """The loss, or a validation's metric, became infinite or NaN."""

    status = "nonfinite"
