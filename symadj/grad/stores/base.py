"""What a store is: it watches the forward solve and plays its steps back, last to first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor
from torch._C import _autograd  # pyright: ignore[reportAttributeAccessIssue]

from symadj.errors import SymadjError
from symadj.grad.stores.places import Here, Place
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.problem import Problem, StepList


class Store(StepList):
    """What is kept of one solve between its forward and its backward pass; here the grid alone.

    A `StepObserver` in the forward pass. One object serves one solve and as many backward passes as
    autograd allows.

    Args:
        problem: what is solved.
        place: where tensors are kept.
    """

    def __init__(self, problem: Problem, place: Place | None = None) -> None:
        super().__init__()
        self.problem = problem
        self.place = place or Here()

    @property
    def resident_bytes(self) -> int:
        """Bytes of the device's memory that are kept now."""
        return 0

    @property
    def has_first_stage(self) -> bool:
        """Whether the first stage derivative of the first step is kept."""
        return False

    def backward(self, *, release: bool) -> Iterator[tuple[Step, Attempt]]:
        """Every step with its start, and with those stage derivatives that are known.

        Args:
            release: whether this is the last backward pass, so that what was played back can go.

        Yields:
            (step, attempt), from the last step to the first; the attempt is the receiver's.
        """
        raise SymadjError(f"{type(self).__name__} keeps the grid of a solve, not its states.")

    def attempt_from(self, step: Step, y0: Tensor) -> Attempt:
        """The step with its start and no stages."""
        return Attempt(step.t0, step.t1, y0, self.problem.solver.stages)


class Kept:
    """Keeps one tensor in a place until it is let go."""

    __slots__ = ("key", "nbytes", "place")

    def __init__(self, place: Place, tensor: Tensor) -> None:
        self.place = place
        self.key: Any = place.put(tensor)
        self.nbytes = place.resident(self.key)

    def get(self) -> Tensor:
        """The tensor."""
        return self.place.get(self.key)

    def drop(self) -> None:
        """It is not needed again."""
        key, self.key = self.key, None
        self.place.drop(key)


def last_pass() -> bool:
    """Whether the running backward pass was called without `retain_graph`.

    Then what it has played back can go at once. Where torch does not say, the answer is no, and all
    is kept as long as the graph.
    """
    kept = getattr(_autograd, "_get_current_graph_task_keep_graph", None)
    return kept is not None and not kept()


def resident_bytes(kept: Sequence[Kept]) -> int:
    """Bytes of the device's memory in these, each once."""
    return sum(one.nbytes for one in {id(one): one for one in kept}.values())
