"""A network with decay: the identity taken off a flow's vector field."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from symadj.ode.gradients import Sums, own_method


class TangentNetwork(Protocol):
    """A network f(t, x) that carries tangents along its forward pass."""

    def __call__(self, t: Tensor, x: Tensor) -> Tensor:
        """f(t, x)."""
        ...

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, x) and (df/dx) dx."""
        ...

    def pull_tangent(
        self, t: Tensor, x: Tensor, dx: Tensor, cotangents: tuple[Tensor, Tensor], sums: Sums
    ) -> Tensor | None:
        """As `MLP.pull_tangent`; needed only by a network that differentiates itself."""
        ...


class Residual(nn.Module):
    """g(t, x) = f(t, x) - x, FFJORD's option "residual": the trace falls by the dimension d.

    Hutchinson's estimate falls by |e|^2, which is d for Rademacher noise and d in the mean for
    Gaussian noise.

    Args:
        network: f.
    """

    def __init__(self, network: TangentNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """g(t, x), of x's shape [B, d]."""
        return self.network(t, x) - x

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """g(t, x) and (dg/dx) dx; shapes as those of the network's own tangent."""
        f, df = self.network.tangent(t, x, dx)
        return f - x, df - dx

    def pull_tangent(
        self, t: Tensor, x: Tensor, dx: Tensor, cotangents: tuple[Tensor, Tensor], sums: Sums
    ) -> Tensor | None:
        """As the network's own."""
        of_x = self.network.pull_tangent(t, x, dx, cotangents, sums)
        return None if of_x is None else of_x - cotangents[0]

    @property
    def differentiates_itself(self) -> bool:
        """Whether the network does."""
        return own_method(self.network, "pull_tangent", "tangent") is not None
