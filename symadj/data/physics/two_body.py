"""Two bodies that attract each other, on nearly circular orbits."""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, legacy_random, orbits
from symadj.data.physics.snapshots import SnapshotData
from symadj.data.physics.system import HamiltonianSystem
from symadj.ranges import require

SPAN, SNAPSHOTS = 25.0, 500
HELD_OUT = 50
NOISE = 0.05


class TwoBodySystem(HamiltonianSystem):
    """H = |p|^2 / 2 - 1/r in the plane: unit masses and gravitational constant, dimensionless.

    The state is (x1, x2, y1, y2) and the momenta in the same order; r is the distance.
    """

    def energy(self, u: Tensor) -> Tensor:
        """Kinetic plus potential energy."""
        q, p = u.chunk(2, dim=-1)
        return p.square().sum(-1) / 2 - 1 / _separation(q).square().sum(-1).sqrt()

    def derivative(self, u: Tensor) -> Tensor:
        """Velocities, and the forces d / r^3 along the separation d."""
        q, p = u.chunk(2, dim=-1)
        d = _separation(q)
        force = d / d.square().sum(-1, keepdim=True) ** 1.5
        pulls = torch.stack([force, -force], dim=-1).flatten(-2)
        return torch.cat([p, pulls], dim=-1)

    def invariants(self, u: Tensor) -> dict[str, Tensor]:
        """Energy, the length of the total momentum, and the angular momentum about the origin."""
        q, p = (half.unflatten(-1, (2, 2)) for half in u.chunk(2, dim=-1))
        (x, y), (px, py) = q.unbind(-2), p.unbind(-2)
        return {
            **super().invariants(u),
            "momentum": p.sum(-1).square().sum(-1).sqrt(),
            "angular_momentum": (x * py - y * px).sum(-1),
        }


def _separation(q: Tensor) -> Tensor:
    """From the first body to the second, [..., 2]."""
    x1, x2, y1, y2 = q.unbind(-1)
    return torch.stack([x2 - x1, y2 - y1], dim=-1)


class TwoBody(SnapshotData):
    """Orbits of 500 snapshots over a time of 25, without noise.

    Drawn as by Greydanus, Dzamba, Yosinski (2019, arXiv:1906.01563), numpy's legacy generator: for
    every orbit the first body's position from U(0.5, 1.5)^2 and the relative error N(0, 0.05) of
    the velocity of a circular orbit; the second body is the first one's mirror image. The first
    fifth is the test split, the others are trained on; 50 further orbits are the validation split.

    Args:
        samples: orbits to train and to test on.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(self, samples: int = 1000, seed: int = 0, horizon: int = 1) -> None:
        check_samples(samples, SNAPSHOTS, 8)
        require("data", seed=seed)
        system = TwoBodySystem()
        held_out = min(HELD_OUT, samples)
        truth = orbits(system, near_circles(samples + held_out, seed), SPAN, SNAPSHOTS)
        to_test = max(1, int(samples * 0.2))
        super().__init__(
            "two_body",
            (truth[to_test:samples], truth[samples:], truth[:to_test]),
            SPAN / (SNAPSHOTS - 1),
            horizon=horizon,
            note="two bodies of unit mass on nearly circular orbits",
            system=system,
            columns=("x1", "x2", "y1", "y2", "px1", "px2", "py1", "py2"),
            portrait=((0, 2), (1, 3)),
        )


def near_circles(n: int, seed: int) -> Tensor:
    """n initial states [n, 8]."""
    random = legacy_random(seed)
    states = []
    for _ in range(n):
        x, y = random.rand(2) + 0.5
        speed = (1 + NOISE * random.randn()) / (2 * (x**2 + y**2) ** 0.75)
        vx, vy = -y * speed, x * speed
        states.append([x, -x, y, -y, vx, -vx, vy, -vy])
    return torch.tensor(states, dtype=torch.float64)
