"""The planar double pendulum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, orbits
from symadj.data.physics.snapshots import SnapshotData, tenths
from symadj.data.physics.system import HamiltonianSystem
from symadj.ranges import require

SPAN, SNAPSHOTS = 10.0, 501


@dataclass(frozen=True)
class DoublePendulumSystem(HamiltonianSystem):
    """Two point masses of 1 kg on massless rods of 1 m, angles q1, q2 from the vertical.

    H = (p1^2 + 2 p2^2 - 2 p1 p2 cos d) / (2 (1 + sin^2 d)) + g (3 - 2 cos q1 - cos q2) in joule,
    d = q1 - q2.

    Attributes:
        g: in m/s^2.
    """

    g: float = 9.81

    def energy(self, u: Tensor) -> Tensor:
        """H in joule; 0 where both hang at rest."""
        q1, q2, p1, p2 = u.unbind(-1)
        d = q1 - q2
        kinetic = p1**2 + 2 * p2**2 - 2 * p1 * p2 * torch.cos(d)
        potential = 3 - 2 * torch.cos(q1) - torch.cos(q2)
        return kinetic / (2 * (1 + torch.sin(d) ** 2)) + self.g * potential

    def derivative(self, u: Tensor) -> Tensor:
        """Angular velocities in rad/s, and the torques."""
        q1, q2, p1, p2 = u.unbind(-1)
        d = q1 - q2
        sin, cos = torch.sin(d), torch.cos(d)
        inertia = 1 + sin**2
        dq1 = (p1 - p2 * cos) / inertia
        dq2 = (2 * p2 - p1 * cos) / inertia
        # dH/dd of the kinetic part at fixed momenta: p1 p2 sin d / inertia - T sin 2d / inertia.
        kinetic = (p1**2 + 2 * p2**2 - 2 * p1 * p2 * cos) / (2 * inertia)
        turn = (p1 * p2 * sin - 2 * kinetic * sin * cos) / inertia
        dp1 = -turn - 2 * self.g * torch.sin(q1)
        dp2 = turn - self.g * torch.sin(q2)
        return torch.stack([dq1, dq2, dp1, dp2], dim=-1)


class DoublePendulum(SnapshotData):
    """Swings of 501 snapshots over 10 s, released at rest from angles drawn from U(-angle, angle).

    Eight in ten are trained on, one in ten each validates and tests.

    Args:
        samples: trajectories, at least 3.
        angle: largest angle at release in rad; above about 1.5 most swings are chaotic.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self, samples: int = 100, angle: float = 1.0, seed: int = 0, horizon: int = 1
    ) -> None:
        check_samples(samples, SNAPSHOTS, 4, splits=3)
        require("data", angle=angle, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        q = (2 * torch.rand(samples, 2, generator=generator, dtype=torch.float64) - 1) * angle
        system = DoublePendulumSystem()
        truth = orbits(system, torch.cat([q, torch.zeros_like(q)], dim=-1), SPAN, SNAPSHOTS)
        super().__init__(
            "double_pendulum",
            tenths(truth),
            SPAN / (SNAPSHOTS - 1),
            horizon=horizon,
            note=f"double pendulums of 1 kg and 1 m, released at rest within {angle:g} rad",
            system=system,
            columns=("q1", "q2", "p1", "p2"),
            units={"t": "s", "energy": "J", "q1": "rad", "q2": "rad", "p1": "J s", "p2": "J s"},
            portrait=((0, 2), (1, 3)),
        )
