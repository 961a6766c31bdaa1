"""The eight two-dimensional toy densities of FFJORD, sampled afresh for every batch."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from symadj.data.base import VectorData
from symadj.errors import InputError, suggest
from symadj.memory import require_memory
from symadj.ranges import require


class Toy2D(VectorData):
    """Points of a plane from one of FFJORD's toy densities.

    The constants are those of Grathwohl et al. 2019 (github.com/rtqichen/ffjord, lib/toy_data.py);
    all points are independent of each other here, where FFJORD draws equal shares of some sets'
    parts.

    Args:
        name: one of `SAMPLERS`.
        seed: of the fixed sets.
        size: points in each of the fixed sets `train`, `val` and `test`; training batches are
            drawn afresh and use none of them.

    Raises:
        InputError: an unknown name or a size below 1.
    """

    draws_rows = False

    def __init__(self, name: str = "8gaussians", seed: int = 0, size: int = 5000) -> None:
        if name not in SAMPLERS:
            raise InputError(f"unknown name={name!r}.{suggest(name, SAMPLERS)}")
        require("data", seed=seed, size=size)
        require_memory(24 * size, f"size={size}: three sets of points", "take fewer points")
        self._draw = SAMPLERS[name]
        generator = torch.Generator().manual_seed(seed)
        splits = [self._draw(size, generator) for _ in range(3)]
        super().__init__(
            name, *splits, note="a toy density of the plane, fresh samples in every batch"
        )

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n new points [n, 2]."""
        return self._draw(n, generator)


def _normal(n: int, g: torch.Generator, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, 2, generator=g)


def _uniform(n: int, g: torch.Generator) -> Tensor:
    return torch.rand(n, generator=g)


def _choice(n: int, g: torch.Generator, options: int) -> Tensor:
    return torch.randint(options, (n,), generator=g)


def _polar(radius: Tensor | float, angle: Tensor) -> Tensor:
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1)


def swissroll(n: int, g: torch.Generator) -> Tensor:
    """The spiral t (cos t, sin t), t ~ U(1.5 pi, 4.5 pi), with noise 1, divided by 5."""
    t = 1.5 * math.pi * (1 + 2 * _uniform(n, g))
    return (_polar(t, t) + _normal(n, g)) / 5


def circles(n: int, g: torch.Generator) -> Tensor:
    """Circles of radius 1 and 0.5 with noise 0.08, times 3."""
    radius = 1 - 0.5 * _choice(n, g, 2)
    return 3 * (_polar(radius, 2 * math.pi * _uniform(n, g)) + _normal(n, g, 0.08))


def rings(n: int, g: torch.Generator) -> Tensor:
    """Circles of radius 0.75, 1.5, 2.25 and 3, then noise 0.08."""
    radius = 0.75 * (1 + _choice(n, g, 4))
    return _polar(radius, 2 * math.pi * _uniform(n, g)) + _normal(n, g, 0.08)


def moons(n: int, g: torch.Generator) -> Tensor:
    """Two interleaved half circles with noise 0.1, times 2, shifted by (-1, -0.2)."""
    outer = _polar(1.0, math.pi * _uniform(n, g))
    inner = torch.tensor([1.0, 0.5]) - outer
    x = torch.where(_choice(n, g, 2).bool().unsqueeze(-1), inner, outer)
    return 2 * (x + _normal(n, g, 0.1)) + torch.tensor([-1.0, -0.2])


def eight_gaussians(n: int, g: torch.Generator) -> Tensor:
    """Eight normal densities of deviation 0.5 on a circle of radius 4, divided by 1.414."""
    angle = math.pi / 4 * _choice(n, g, 8)
    return (_polar(4.0, angle) + _normal(n, g, 0.5)) / 1.414


def pinwheel(n: int, g: torch.Generator) -> Tensor:
    """Five arms turned by 0.25 exp(distance), deviations 0.3 along and 0.1 across, times 2."""
    arm = _normal(n, g) * torch.tensor([0.3, 0.1]) + torch.tensor([1.0, 0.0])
    angle = 2 * math.pi / 5 * _choice(n, g, 5) + 0.25 * torch.exp(arm[:, 0])
    cos, sin = torch.cos(angle), torch.sin(angle)
    along, across = arm.unbind(-1)
    return 2 * torch.stack([along * cos + across * sin, across * cos - along * sin], dim=-1)


def two_spirals(n: int, g: torch.Generator) -> Tensor:
    """Two opposite spirals of 540 degrees with uniform jitter 0.5, divided by 3, then noise 0.1."""
    t = math.radians(540) * torch.sqrt(_uniform(n, g))
    jitter = 0.5 * torch.rand(n, 2, generator=g)
    arm = torch.stack([-torch.cos(t) * t, torch.sin(t) * t], dim=-1) + jitter
    sign = 1 - 2 * _choice(n, g, 2)
    return sign.unsqueeze(-1) * arm / 3 + _normal(n, g, 0.1)


def checkerboard(n: int, g: torch.Generator) -> Tensor:
    """The dark squares of a 4x4 board over [-4, 4]^2, uniformly."""
    x = 4 * _uniform(n, g) - 2
    y = _uniform(n, g) - 2 * _choice(n, g, 2) + torch.floor(x) % 2
    return 2 * torch.stack([x, y], dim=-1)


SAMPLERS: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "swissroll": swissroll,
    "circles": circles,
    "rings": rings,
    "moons": moons,
    "8gaussians": eight_gaussians,
    "pinwheel": pinwheel,
    "2spirals": two_spirals,
    "checkerboard": checkerboard,
}
