"""Mass-spring and pendulum with noisy observations, as Hamiltonian neural networks have them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symadj.data.physics.orbits import check_samples, legacy_random, orbits
from symadj.data.physics.snapshots import SnapshotData
from symadj.data.physics.system import HamiltonianSystem
from symadj.ranges import require

SPAN, SNAPSHOTS = 20.0, 100
HELD_OUT = 10


class MassSpringSystem(HamiltonianSystem):
    """H = q^2 + p^2, dimensionless."""

    def energy(self, u: Tensor) -> Tensor:
        """q^2 + p^2."""
        return u.square().sum(-1)

    def derivative(self, u: Tensor) -> Tensor:
        """(2 p, -2 q)."""
        q, p = u.unbind(-1)
        return torch.stack([2 * p, -2 * q], dim=-1)


class PendulumSystem(HamiltonianSystem):
    """H = 3 (1 - cos q) + p^2, dimensionless."""

    def energy(self, u: Tensor) -> Tensor:
        """3 (1 - cos q) + p^2."""
        q, p = u.unbind(-1)
        return 3 * (1 - torch.cos(q)) + p.square()

    def derivative(self, u: Tensor) -> Tensor:
        """(2 p, -3 sin q)."""
        q, p = u.unbind(-1)
        return torch.stack([2 * p, -3 * torch.sin(q)], dim=-1)


class Oscillator(SnapshotData):
    """Trajectories of 100 snapshots over a time of 20, noisy where they are trained on.

    Drawn as by Greydanus, Dzamba, Yosinski (2019, arXiv:1906.01563), numpy's legacy generator: for
    every trajectory a direction from U(-1, 1)^2, a radius, and normal noise for q and then for p.
    The first half is trained on. The second half is the test split, and 10 further trajectories
    are the validation split: both without their noise, so that scores are against the truth. (The
    publication's derivative score feeds the model noisy test states instead.)

    Args:
        name: of the data set.
        system: what is integrated.
        radius: (smallest, largest) of the initial state's radius.
        samples: trajectories to train and to test on.
        noise: standard deviation of the observations.
        seed: of all draws.
        horizon: intervals of a training window.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        name: str,
        system: HamiltonianSystem,
        radius: tuple[float, float],
        samples: int,
        noise: float,
        seed: int,
        horizon: int,
    ) -> None:
        check_samples(samples, SNAPSHOTS, 2)
        require("data", noise=noise, seed=seed)
        starts, errors = _draw(samples + HELD_OUT, radius, noise, seed)
        truth = orbits(system, starts, SPAN, SNAPSHOTS)
        half = samples // 2
        splits = (truth[:half] + errors[:half], truth[samples:], truth[half:samples])
        super().__init__(
            name,
            splits,
            SPAN / (SNAPSHOTS - 1),
            horizon=horizon,
            note=f"{name.replace('_', '-')}, observed with noise of {noise:g}; scored without",
            system=system,
            columns=("q", "p"),
        )


class MassSpring(Oscillator):
    """The mass-spring system, radius U(0.1, 1).

    Args:
        samples: as in `Oscillator`.
        noise: as in `Oscillator`.
        seed: as in `Oscillator`.
        horizon: as in `Oscillator`.
    """

    def __init__(
        self, samples: int = 50, noise: float = 0.1, seed: int = 0, horizon: int = 1
    ) -> None:
        system = MassSpringSystem()
        super().__init__("mass_spring", system, (0.1, 1.0), samples, noise, seed, horizon)


class Pendulum(Oscillator):
    """The pendulum, radius U(1.3, 2.3).

    Args:
        samples: as in `Oscillator`.
        noise: as in `Oscillator`.
        seed: as in `Oscillator`.
        horizon: as in `Oscillator`.
    """

    def __init__(
        self, samples: int = 50, noise: float = 0.1, seed: int = 0, horizon: int = 1
    ) -> None:
        system = PendulumSystem()
        super().__init__("pendulum", system, (1.3, 2.3), samples, noise, seed, horizon)


def _draw(n: int, radius: tuple[float, float], noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Initial states [n, 2] and observation errors [n, SNAPSHOTS, 2]."""
    random = legacy_random(seed)
    low, high = radius
    starts, errors = [], []
    for _ in range(n):
        direction = random.rand(2) * 2 - 1
        length = random.rand() * (high - low) + low
        starts.append(direction / np.sqrt((direction**2).sum()) * length)
        errors.append(np.stack([random.randn(SNAPSHOTS), random.randn(SNAPSHOTS)], axis=-1))
    return torch.from_numpy(np.stack(starts)), noise * torch.from_numpy(np.stack(errors))
