"""Lorenz's three equations of convection: chaos on a strange attractor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, orbits
from symadj.data.physics.snapshots import SnapshotData, tenths
from symadj.data.physics.system import System
from symadj.ranges import require

SPAN, SNAPSHOTS = 5.0, 501
SETTLING = 5.0


@dataclass(frozen=True)
class Lorenz63System(System):
    """dx/dt = sigma (y - x), dy/dt = x (rho - z) - y, dz/dt = x y - beta z, dimensionless.

    Lorenz (1963), J. Atmos. Sci. 20.
    """

    constants: ClassVar[tuple[str, ...]] = ("sigma", "rho", "beta")

    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 8 / 3

    def derivative(self, u: Tensor) -> Tensor:
        """The right-hand side."""
        x, y, z = u.unbind(-1)
        dx = self.sigma * (y - x)
        return torch.stack([dx, x * (self.rho - z) - y, x * y - self.beta * z], dim=-1)


class Lorenz63(SnapshotData):
    """Trajectories of 501 snapshots over a time of 5, from points on the attractor.

    The points are where normal draws around (0, 0, 25) have come to after a time of 5. Eight in ten
    trajectories are trained on, one in ten each validates and tests.

    Args:
        samples: trajectories, at least 3.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, samples: int = 100, seed: int = 0, horizon: int = 1) -> None:
        check_samples(samples, SNAPSHOTS, 3, splits=3)
        require("data", seed=seed)
        generator = torch.Generator().manual_seed(seed)
        drawn = 5 * torch.randn(samples, 3, generator=generator, dtype=torch.float64)
        drawn[:, 2] += 25
        system = Lorenz63System()
        settled = orbits(system, drawn, SETTLING, 2)[:, -1]
        truth = orbits(system, settled, SPAN, SNAPSHOTS)
        super().__init__(
            "lorenz63",
            tenths(truth),
            SPAN / (SNAPSHOTS - 1),
            horizon=horizon,
            note="Lorenz's system on its attractor; no roll-out can be right for long",
            system=system,
            columns=("x", "y", "z"),
            portrait=((0, 2),),
        )
