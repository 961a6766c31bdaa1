"""Data sets of equations on a grid: how many trajectories there are, and their cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from symadj.data.physics.cache import cached_trajectories
from symadj.data.physics.pde import PeriodicPDE, discrete_gradient_trajectories
from symadj.data.physics.snapshots import SnapshotData
from symadj.memory import require_memory
from symadj.ranges import require

LONG_SEED, LONG_TRAJECTORIES, LONG_STEPS = 100, 5, 5000


@dataclass(frozen=True)
class Recipe:
    """How the trajectories of an equation are made.

    Attributes:
        name: of the data set.
        version: of the generator; a change of its numbers needs a new one.
        system: the equation.
        starts: (number, seed) -> initial states [number, points]; the first ones do not depend on
            the number.
        dt: time from one snapshot to the next.
        seed: of the trajectories to train and to test on.
    """

    name: str
    version: int
    system: PeriodicPDE
    starts: Callable[[int, int], Tensor]
    dt: float
    seed: int

    def trajectories(
        self, n: int, steps: int, seed: int, directory: str | Path | None = None
    ) -> Tensor:
        """[n, steps + 1, points], from the cache where they are there."""
        settings = {
            "name": self.name,
            "version": self.version,
            "trajectories": n,
            "steps": steps,
            "dt": self.dt,
            "seed": seed,
            "system": repr(self.system),
        }
        return cached_trajectories(
            f"{self.name}-v{self.version}-{n}x{steps}-seed{seed}",
            settings,
            (n, steps + 1, self.system.points),
            lambda: discrete_gradient_trajectories(
                self.system, self.starts(n, seed), self.dt, steps
            ),
            directory,
        )


class GridData(SnapshotData):
    """Trajectories by a recipe: nine in ten to train on, the others to test on.

    Args:
        recipe: how they are made.
        trajectories: to train and to test on.
        steps: of each.
        long: whether the test split is the long one.
        horizon: intervals of a training window.
        data_dir: where they are kept.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        recipe: Recipe,
        trajectories: int,
        steps: int,
        long: bool,
        horizon: int,
        data_dir: str | Path | None,
    ) -> None:
        require("data", trajectories=trajectories, steps=steps)
        require_memory(
            8 * trajectories * (steps + 1) * recipe.system.points,
            f"trajectories={trajectories}, steps={steps}: the states",
            "take fewer trajectories or steps",
        )
        to_train = min(int(trajectories * 0.9), trajectories - 1)
        to_test = trajectories - to_train
        total = trajectories + to_test
        u = recipe.trajectories(total, steps, recipe.seed, data_dir)
        train, test, val = u.split([to_train, to_test, to_test])
        if long:
            test = recipe.trajectories(LONG_TRAJECTORIES, LONG_STEPS, LONG_SEED, data_dir)
        system = recipe.system
        note = (
            f"discrete-gradient trajectories of {steps} steps of {recipe.dt:g} on {system.points} "
            f"points{', long test split' if long else ''}"
        )
        super().__init__(
            recipe.name,
            (train, val, test),
            recipe.dt,
            horizon=horizon,
            note=note,
            system=system,
            dx=system.dx,
        )
