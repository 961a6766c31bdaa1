"""What is known of a physical system besides its trajectories."""

from __future__ import annotations

from torch import Tensor


class System:
    """An autonomous system du/dt = f(u), its state along the last dimension.

    All functions take states of any leading shape, dtype and device.
    """

    def derivative(self, u: Tensor) -> Tensor:
        """f(u), of u's shape."""
        raise NotImplementedError

    def energy(self, u: Tensor) -> Tensor | None:
        """The energy of every state; None: the system has none that is known."""
        return None

    def mass(self, u: Tensor) -> Tensor | None:
        """The conserved total of every state; None: there is none."""
        return None


class HamiltonianSystem(System):
    """dq/dt = dH/dp, dp/dt = -dH/dq with the state (q, p), halves of the last dimension."""

    def energy(self, u: Tensor) -> Tensor:
        """H(q, p) of every state."""
        raise NotImplementedError
