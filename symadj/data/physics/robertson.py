"""Robertson's three reactions, the usual test of a solver for stiff systems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, orbits
from symadj.data.physics.snapshots import SnapshotData, tenths
from symadj.data.physics.system import System
from symadj.ranges import require

SPAN, SNAPSHOTS = 4000.0, 41


@dataclass(frozen=True)
class RobertsonSystem(System):
    """A -> B (k1), 2 B -> B + C (k2), B + C -> A + C (k3), concentrations without unit.

    da/dt = -k1 a + k3 b c, db/dt = k1 a - k3 b c - k2 b^2, dc/dt = k2 b^2. Robertson (1966). The
    fastest rate, k3 c + 2 k2 b, is about 10^4, the slowest below 10^-3.
    """

    constants: ClassVar[tuple[str, ...]] = ("k1", "k2", "k3")

    k1: float = 0.04
    k2: float = 3e7
    k3: float = 1e4

    def derivative(self, u: Tensor) -> Tensor:
        """The right-hand side."""
        a, b, c = u.unbind(-1)
        slow, fast, back = self.k1 * a, self.k2 * b * b, self.k3 * b * c
        return torch.stack([back - slow, slow - back - fast, fast], dim=-1)

    def invariants(self, u: Tensor) -> dict[str, Tensor]:
        """a + b + c."""
        return {"mass": u.sum(-1)}


class Robertson(SnapshotData):
    """Trajectories of 41 snapshots over a time of 4,000, from A alone or with some of C.

    The first a is drawn from U(0.5, 1), c is 1 - a and b is 0. Eight in ten trajectories are
    trained on, one in ten each validates and tests. An explicit method takes some 300,000 steps
    from one snapshot to the next. Of such slow states only k2 and the ratio of k1 to k3 can be
    learned: b follows a and c within a time of 1/1,000.

    Args:
        samples: trajectories, at least 3.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, samples: int = 50, seed: int = 0, horizon: int = 1) -> None:
        check_samples(samples, SNAPSHOTS, 3, splits=3)
        require("data", seed=seed)
        generator = torch.Generator().manual_seed(seed)
        a = 0.5 + 0.5 * torch.rand(samples, generator=generator, dtype=torch.float64)
        starts = torch.stack([a, torch.zeros_like(a), 1 - a], dim=-1)
        system = RobertsonSystem()
        truth = orbits(system, starts, SPAN, SNAPSHOTS, "radau5")
        super().__init__(
            "robertson",
            tenths(truth),
            SPAN / (SNAPSHOTS - 1),
            horizon=horizon,
            note="Robertson's reactions: stiff, rates from 10^4 to below 10^-3",
            system=system,
            columns=("a", "b", "c"),
            portrait=((0, 2),),
        )
