"""Fields that draw random numbers: the same ones in every replay of a stage."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

States = list[Tensor]
"""Of some generators, in their order."""


class Generators:
    """Torch's own generators of random numbers, for the CPU and for the state's device.

    Python's and NumPy's take longer to look at than a small field to evaluate, and who draws from
    those, or from a `torch.Generator`, is refused by the comparison of the first stage.

    Args:
        device: of the state.

    Attributes:
        marked: states to compare later ones with.
    """

    def __init__(self, device: torch.device) -> None:
        self._all: list[tuple[Callable[[], Tensor], Callable[[Tensor], None]]] = [
            (torch.get_rng_state, torch.set_rng_state),
        ]
        if device.type == "cuda":
            self._all.append(
                (
                    lambda: torch.cuda.get_rng_state(device),
                    lambda state: torch.cuda.set_rng_state(state, device),
                )
            )
        self.marked: States = []

    def states(self) -> States:
        """As they are now."""
        return [get() for get, _ in self._all]

    def restore(self, states: States) -> None:
        """As they were."""
        for (_, put), state in zip(self._all, states, strict=True):
            put(state)

    def mark(self, states: States) -> None:
        """Remembers these states."""
        self.marked = states

    def moved(self, since: States) -> bool:
        """Whether a number was drawn since then."""
        return any(self._which_moved(since))

    def only_moved(self, since: States) -> tuple[Generators, States]:
        """Those of which a number was drawn since then, and their states then."""
        which = self._which_moved(since)
        moved = copy.copy(self)
        moved._all = [one for one, took in zip(self._all, which, strict=True) if took]
        return moved, [state for state, took in zip(since, which, strict=True) if took]

    def _which_moved(self, since: States) -> list[bool]:
        return [not torch.equal(a, get()) for a, (get, _) in zip(since, self._all, strict=True)]


class Draws:
    """The generators' states before every evaluation of an accepted step, by its start and stage.

    Args:
        generators: of which some have moved; these are followed.
        before: their states before the first evaluation.
        t0: the start of the first step.
    """

    def __init__(self, generators: Generators, before: States, t0: float) -> None:
        self.t0 = t0
        self.generators, first = generators.only_moved(before)
        self.before: dict[float, dict[int, States]] = {t0: {0: first}}

    def record(self, t0: float, stage: int) -> None:
        """This stage is about to be evaluated; what an earlier attempt left is overwritten."""
        self.before.setdefault(t0, {})[stage] = self.generators.states()

    def restore(self, t0: float, stage: int) -> None:
        """The generators are as they were before this stage."""
        self.generators.restore(self.before[t0][stage])
