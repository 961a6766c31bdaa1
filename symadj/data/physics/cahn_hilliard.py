"""The Cahn-Hilliard equation: a mixture that separates, on a periodic grid."""

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
class CahnHilliardEquation(PeriodicPDE):
    """u_t = D2(-u + u^3 - gamma D2 u), H = dx sum(-u^2/2 + u^4/4 + gamma/2 u_x^2), dimensionless.

    D2 is the second difference, u_x^2 the mean of the squared forward and backward differences. H
    never rises; the mass dx sum(u) is conserved.
    """

    points: int = 50
    width: float = 1.0
    gamma: float = 0.0005
    structure: ClassVar[str] = "dissipative"

    @property
    def stiffness(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        """-gamma."""
        return -self.gamma

    def local(self, u: Tensor, v: Tensor) -> Tensor:
        """-(u + v)/2 + (u^3 + u^2 v + u v^2 + v^3)/4."""
        return (u + v) * ((u * u + v * v) / 4 - 0.5)

    def local_slope(self, u: Tensor, v: Tensor) -> Tensor:
        """-1/2 + (u^2 + 2 u v + 3 v^2)/4."""
        return (u * u + 2 * u * v + 3 * v * v) / 4 - 0.5

    def density(self, u: Tensor) -> Tensor:
        """-u^2/2 + u^4/4 + gamma/2 u_x^2."""
        return -(u**2) / 2 + u**4 / 4 + self.gamma / 2 * squared_slope(u, self.dx)

    def noise(self, n: int, seed: int) -> Tensor:
        """n initial states [n, points]: 0.1 (U(0, 1) - 0.5) from numpy's legacy generator."""
        random = np.random.RandomState(seed)
        return torch.from_numpy((random.rand(n, self.points) - 0.5) * 0.1)


class CahnHilliard(GridData):
    """The data set of Matsubara, Ishikawa, Yaguchi (2020, arXiv:1905.08604) and of the paper.

    100 trajectories of 501 snapshots, 0.0001 apart, by the discrete-gradient method: 90 to train
    on, 10 to test on. The validation split, which the publication has not, is of as many further
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
        system = CahnHilliardEquation()
        recipe = Recipe("cahn_hilliard", 1, system, system.noise, dt=0.0001, seed=0)
        super().__init__(recipe, trajectories, steps, long, horizon, data_dir)
