"""Backpropagation through the classic Runge-Kutta method, written out without this package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

STEPS = 4
TIMES = torch.tensor([0.0, 1.0], dtype=torch.float64)
FIXED: dict[str, Any] = {"method": "rk4", "options": {"num_steps": STEPS}}
"""What makes odeint take these steps."""

Func = Callable[[Tensor, Any], Any]


def rk4(func: Func, y0: Tensor) -> Tensor:
    """y(1) from y(0) = y0 in `STEPS` steps."""
    y, h = y0, 1.0 / STEPS
    for n in range(STEPS):
        now, half, then = (torch.tensor((n + c) * h, dtype=y0.dtype) for c in (0, 0.5, 1))
        k1 = func(now, y)
        k2 = func(half, y + h / 2 * k1)
        k3 = func(half, y + h / 2 * k2)
        k4 = func(then, y + h * k3)
        y = y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return y


def gradients(y1: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Of the sum of sin(y1)."""
    return list(torch.autograd.grad(torch.sin(y1).sum(), list(inputs)))


def assert_close(ours: Sequence[Tensor], theirs: Sequence[Tensor], tolerance: float) -> None:
    """Norms of the differences, relative to those of the reference."""
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).norm() <= tolerance * other.norm()
