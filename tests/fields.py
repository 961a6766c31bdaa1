"""Vector fields for tests: nonlinear and time-dependent, since linear ones hide wrong gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Wave(nn.Module):
    """tanh(W y + b sin 3t) - y^3/5, with a parameter that is never used and a frozen one."""

    def __init__(self, dim: int = 3, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(dim, dim, generator=generator, dtype=dtype))
        self.bias = nn.Parameter(torch.randn(dim, generator=generator, dtype=dtype))
        self.unused = nn.Parameter(torch.ones(2, dtype=dtype))
        self.frozen = nn.Parameter(torch.full((dim,), 0.3, dtype=dtype), requires_grad=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        drive = self.bias * torch.sin(3 * t)
        return torch.tanh(y @ self.weight.T + drive + self.frozen) - 0.2 * y**3


class Energy(nn.Module):
    """dy/dt = J grad H(y), the gradient taken by autograd inside the field."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.weight = nn.Parameter(torch.randn(8, 2, generator=generator, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = y if y.requires_grad else y.requires_grad_()
        energy = torch.log(torch.cosh(y @ self.weight.T + 0.1 * t)).sum()
        (slope,) = torch.autograd.grad(energy, y, create_graph=True)
        return torch.stack([slope[..., 1], -slope[..., 0]], dim=-1)


class Pair(nn.Module):
    """A field of a tuple of two tensors of different shapes, coupled both ways."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 3, generator=generator, dtype=torch.float64))

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, z = state
        dy = torch.tanh(y @ self.weight) * torch.cos(z).unsqueeze(-1)
        return dy, -(y**2).sum(-1) * torch.exp(-t) + 0.1 * z


def start(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """A reproducible initial state that needs a gradient."""
    generator = torch.Generator().manual_seed(4)
    return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()
