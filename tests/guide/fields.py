"""A small velocity field in float64, and the gradients through it written out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from symadj import SOLVERS, Integrator, SolverSettings
from symadj.guide import Sampler

STEPS = 6
POINT = (0.7, -0.4)


class Swirl(nn.Module):
    """A tanh network on (t, x)."""

    def __init__(self, dim: int = 2, width: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.first = nn.Linear(dim + 1, width).double()
        self.last = nn.Linear(width, dim).double()
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(0.7 * torch.randn(p.shape, generator=generator, dtype=p.dtype))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(torch.cat([t.expand(len(x), 1), x], dim=1))))


def noise(n: int = 5, dim: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, dim, generator=generator, dtype=torch.float64)


def loss(x: Tensor) -> Tensor:
    """Of every sample, [B]; no square, so that its gradient is no multiple of the distance."""
    return (x - x.new_tensor(POINT)).pow(4).sum(1) + torch.sin(x).sum(1)


def heun3(func: nn.Module, x: Tensor, t: float, until: float, steps: int) -> Tensor:
    """Heun's method of order 3, written out without this package."""
    h = (until - t) / steps
    for n in range(steps):
        now = t + n * h
        t1, t2, t3 = (x.new_tensor(now + c * h) for c in (0, 1 / 3, 2 / 3))
        k1 = func(t1, x)
        k2 = func(t2, x + h / 3 * k1)
        k3 = func(t3, x + 2 * h / 3 * k2)
        x = x + h / 4 * (k1 + 3 * k3)
    return x


def sampler(
    gradient: str = "symplectic", method: str = "heun3", field: nn.Module | None = None, **how: int
) -> Sampler:
    settings = how or {"num_steps": STEPS}
    solver = SolverSettings(method, 1e-6, 1e-6, **settings)  # pyright: ignore[reportArgumentType]
    assert method in SOLVERS
    return Sampler(field or Swirl(), Integrator(solver, gradient))
