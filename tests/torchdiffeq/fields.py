"""Fields that the tests of the drop-in share."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Swing(nn.Module):
    """tanh(W y + sin 3t) - sin(y)/5, counting its evaluations; `unused` is never used."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(3, 3, generator=generator, dtype=torch.float64)
        self.weight = nn.Parameter(weight.to(dtype))
        self.unused = nn.Linear(2, 2, dtype=dtype)
        self.evaluations = 0
        self.times: list[float] = []

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.evaluations += 1
        self.times.append(float(t.detach()))
        return torch.tanh(y @ self.weight + torch.sin(3 * t)) - 0.2 * torch.sin(y)


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, 3, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
