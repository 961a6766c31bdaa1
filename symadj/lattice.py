"""Finite differences on a periodic one-dimensional grid, along the last dimension."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Operator = Callable[[Tensor, float], Tensor]


def central_difference(u: Tensor, dx: float) -> Tensor:
    """(u_{i+1} - u_{i-1}) / (2 dx): the first derivative to second order, a skew matrix."""
    return (u.roll(-1, -1) - u.roll(1, -1)) / (2 * dx)


def second_difference(u: Tensor, dx: float) -> Tensor:
    """(u_{i+1} - 2 u_i + u_{i-1}) / dx^2: symmetric and negative semidefinite."""
    return (u.roll(-1, -1) - 2 * u + u.roll(1, -1)) / dx**2


def squared_slope(u: Tensor, dx: float) -> Tensor:
    """The mean of the squares of the forward and the backward difference.

    The gradient of half its sum over the grid is minus the second difference.
    """
    forward = (u.roll(-1, -1) - u) / dx
    return (forward.square() + forward.roll(1, -1).square()) / 2


STRUCTURES: dict[str, Operator] = {
    "skew": central_difference,
    "dissipative": second_difference,
}
"""G of du/dt = G grad H: a skew one keeps H, a negative semidefinite one lets it fall; both keep
the sum of u, since their columns add up to 0."""

TRANSPOSED: dict[str, Operator] = {
    "skew": lambda u, dx: -central_difference(u, dx),
    "dissipative": second_difference,
}
"""Their transposes."""
