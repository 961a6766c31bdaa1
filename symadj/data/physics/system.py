"""What is known of a physical system besides its trajectories."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor


class System:
    """An autonomous system du/dt = f(u), its state along the last dimension.

    All functions take states of any leading shape, dtype and device.

    Attributes:
        constants: names of the positive numbers in f that can be learned; the system is then a
            dataclass with fields of these names.
    """

    constants: ClassVar[tuple[str, ...]] = ()

    def derivative(self, u: Tensor) -> Tensor:
        """f(u), of u's shape."""
        raise NotImplementedError

    def invariants(self, u: Tensor) -> dict[str, Tensor]:
        """By name, of every state, what the system keeps or lets fall, as far as it is known."""
        return {}


class HamiltonianSystem(System):
    """dq/dt = dH/dp, dp/dt = -dH/dq with the state (q, p), halves of the last dimension."""

    def energy(self, u: Tensor) -> Tensor:
        """H(q, p) of every state."""
        raise NotImplementedError

    def invariants(self, u: Tensor) -> dict[str, Tensor]:
        """The energy."""
        return {"energy": self.energy(u)}
