"""The Korteweg-de Vries equation: colliding solitons on a periodic grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from symadj.data.physics.grid import GridData, Recipe
from symadj.data.physics.pde import PeriodicPDE
from symadj.lattice import squared_slope


@dataclass(frozen=True)
class KdVEquation(PeriodicPDE):
    """u_t = D(-a/2 u^2 + b D2 u), H = dx sum(-a/6 u^3 - b/2 u_x^2), dimensionless.

    D and D2 are the central first and the second difference, u_x^2 the mean of the squared forward
    and backward differences. H and the mass dx sum(u) are conserved.
    """

    points: int = 50
    width: float = 10.0
    a: float = -6.0
    b: float = 1.0
    structure: ClassVar[str] = "skew"

    @property
    def stiffness(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """b."""
        return self.b

    def local(self, u: Tensor, v: Tensor) -> Tensor:
        """-a/2 (u^2 + u v + v^2)/3."""
        return -self.a / 6 * (u * u + u * v + v * v)

    def local_slope(self, u: Tensor, v: Tensor) -> Tensor:
        """-a/2 (u + 2 v)/3."""
        return -self.a / 6 * (u + 2 * v)

    def density(self, u: Tensor) -> Tensor:
        """-a/6 u^3 - b/2 u_x^2."""
        return -self.a / 6 * u**3 - self.b / 2 * squared_slope(u, self.dx)

    def two_solitons(self, n: int, seed: int) -> Tensor:
        """n initial states [n, points] from numpy's legacy generator.

        (-6/a) 2 k^2 sech^2(k (x - width d)) for two bumps, not wrapped around the period; the draws
        of each state in order: k1 and k2 from U(0.5, 2), d1 from U(0.2, 0.3), d2 - d1 from
        U(0.2, 0.5), a whole number below `points` that is not used, and a coin that says whether
        the grid is reversed.
        """
        random = np.random.RandomState(seed)
        x = self.x.numpy()
        states = []
        for _ in range(n):
            k1, k2 = random.uniform(0.5, 2.0, 2)
            d1 = random.uniform(0.2, 0.3)
            d2 = d1 + random.uniform(0.2, 0.5)
            random.randint(0, self.points)
            u = self._bump(x, k1, d1) + self._bump(x, k2, d2)
            states.append(u[::-1] if random.randint(0, 2) == 1 else u)
        return torch.from_numpy(np.stack(states))

    def _bump(self, x: np.ndarray, k: float, d: float) -> np.ndarray:
        return -6 / self.a * 2 * k**2 / np.cosh(k * (x - self.width * d)) ** 2


class KdV(GridData):
    """The data set of Matsubara, Ishikawa, Yaguchi (2020, arXiv:1905.08604) and of the paper.

    100 trajectories of 501 snapshots, 0.001 apart, by the discrete-gradient method: 90 to train on,
    10 to test on. The validation split, which the publication has not, is of as many further
    trajectories as the test split, drawn next from the same generator.

    Args:
        trajectories: to train and to test on, at least 2.
        steps: of each; the snapshots are one more.
        long: whether the test split is the long one: 5 trajectories of 5,001 snapshots.
        horizon: intervals of a training window.
        data_dir: where the generated trajectories are kept.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        trajectories: int = 100,
        steps: int = 500,
        long: bool = False,
        horizon: int = 1,
        data_dir: str | Path | None = None,
    ) -> None:
        system = KdVEquation()
        recipe = Recipe("kdv", 1, system, system.two_solitons, dt=0.001, seed=1)
        super().__init__(recipe, trajectories, steps, long, horizon, data_dir)
