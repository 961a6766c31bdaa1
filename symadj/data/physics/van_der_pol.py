"""Van der Pol's oscillator, whose relaxation is stiff."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, orbits
from symadj.data.physics.snapshots import SnapshotData, tenths
from symadj.data.physics.system import System
from symadj.ranges import require

SNAPSHOTS = 101
TOLERANCE = 1e-7
"""Tighter ones take minutes: all trajectories share their steps, and each jumps at its own time."""
SETTLED = 1.2, 2.0
"""Of x on the slow branch."""


@dataclass(frozen=True)
class VanDerPolSystem(System):
    """dx/dt = v, dv/dt = mu (1 - x^2) v - x, dimensionless.

    For large mu x creeps along v = x / (mu (1 - x^2)), at a decay rate of about 3 mu towards it,
    and jumps to the other branch twice in a period of about 1.6 mu.
    """

    constants: ClassVar[tuple[str, ...]] = ("mu",)

    mu: float = 1e3

    def derivative(self, u: Tensor) -> Tensor:
        """The right-hand side."""
        x, v = u.unbind(-1)
        return torch.stack([v, self.mu * (1 - x * x) * v - x], dim=-1)


class VanDerPol(SnapshotData):
    """Trajectories of 101 snapshots over a time of 2 mu, from points on the slow branches.

    The first |x| is drawn from U(1.2, 2), with either sign. Eight in ten trajectories are trained
    on, one in ten each validates and tests. With mu = 1,000 an explicit method takes some 20,000
    steps from one snapshot to the next.

    Args:
        mu: the damping.
        samples: trajectories, at least 3.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, mu: float = 1e3, samples: int = 6, seed: int = 0, horizon: int = 1) -> None:
        check_samples(samples, SNAPSHOTS, 2, splits=3)
        require("data", mu=mu, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        low, high = SETTLED
        x = low + (high - low) * torch.rand(samples, generator=generator, dtype=torch.float64)
        x = x * (2.0 * torch.randint(2, (samples,), generator=generator) - 1)
        starts = torch.stack([x, x / (mu * (1 - x * x))], dim=-1)
        system = VanDerPolSystem(mu)
        truth = orbits(system, starts, 2 * mu, SNAPSHOTS, "radau5", TOLERANCE)
        super().__init__(
            "van_der_pol",
            tenths(truth),
            2 * mu / (SNAPSHOTS - 1),
            horizon=horizon,
            note=f"Van der Pol's oscillator, mu = {mu:g}: stiff on its slow branches",
            system=system,
            columns=("x", "v"),
        )
