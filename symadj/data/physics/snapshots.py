"""Trajectories as equally spaced snapshots, and the windows of them that a training sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from symadj.data.base import Data
from symadj.data.physics.system import System
from symadj.errors import InputError

Picture = Literal["field", "orbit"]


class SnapshotData(Data):
    """Trajectories of one system in three splits.

    Attributes:
        name: shown in tables and in the header of a run.
        dim: entries of a state.
        train, val, test: [trajectories, snapshots, dim], float64; the splits may differ in length.
        dt: time from one snapshot to the next.
        horizon: intervals of a training window.
        note: one line: what the data are.
        system: what is known of the system; None: nothing.
        dx: distance of neighbouring grid points; None: the state is no field on a grid.
        columns: the entries' names, where they have any.
        units: of "t", "x", "energy", "mass" and of the columns; what is missing has none.
        portrait: pairs of entries that are drawn against each other.

    Raises:
        InputError: no whole window of `horizon` intervals fits into a split.
    """

    def __init__(
        self,
        name: str,
        splits: tuple[Tensor, Tensor, Tensor],
        dt: float,
        *,
        horizon: int = 1,
        note: str = "",
        system: System | None = None,
        dx: float | None = None,
        columns: Sequence[str] = (),
        units: Mapping[str, str] | None = None,
        portrait: Sequence[tuple[int, int]] = ((0, 1),),
    ) -> None:
        self.name = name
        self.train, self.val, self.test = (split.to(torch.float64) for split in splits)
        self.dim = int(self.train.shape[-1])
        self.dt = float(dt)
        self.horizon = horizon
        self.note = note
        self.system = System() if system is None else system
        self.known = system is not None
        self.dx = dx
        self.columns = tuple(columns)
        self.units = dict(units or {})
        self.portrait = tuple(portrait) if self.dim > 1 else ()
        self._check()

    def _check(self) -> None:
        shortest = min(split.shape[1] for split in (self.train, self.val, self.test))
        if not 1 <= self.horizon < shortest:
            raise InputError(
                f"horizon={self.horizon} with {shortest} snapshots in the shortest trajectory of "
                f"{self.name}; allowed: 1 to {shortest - 1} intervals."
            )

    @property
    def structure(self) -> str | None:
        """The name in `symadj.lattice.STRUCTURES` of the operator that the true system has."""
        return getattr(self.system, "structure", None)

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n different windows of the training split, [n, horizon + 1, dim].

        Where there are not more than n, all of them come, in order: a full batch.
        """
        count = window_count(self.train, self.horizon)
        if n >= count:
            return windows(self.train, self.horizon, torch.arange(count))
        chosen = torch.randperm(count, generator=generator)[:n]
        return windows(self.train, self.horizon, chosen)

    def model_arguments(self) -> dict[str, Any]:
        """What a model may need to know: dim, the system, and on a grid dx and the structure."""
        system = self.system if self.known else None
        known = {"dim": self.dim, "system": system, "dx": self.dx, "structure": self.structure}
        return {name: value for name, value in known.items() if value is not None}


def tenths(trajectories: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Eight in ten trajectories to train on, and one in ten, at least one, each to validate and to
    test on: of [n, T, ...], n at least 3, in their order."""
    held_out = max(1, len(trajectories) // 10)
    train, val, test = trajectories.split([len(trajectories) - 2 * held_out, held_out, held_out])
    return train, val, test


def window_count(trajectories: Tensor, horizon: int) -> int:
    """How many windows of horizon + 1 snapshots [n, T, dim] has, the overlapping ones too."""
    n, snapshots = trajectories.shape[:2]
    return n * max(0, snapshots - horizon)


def windows(trajectories: Tensor, horizon: int, chosen: Tensor) -> Tensor:
    """The windows of these numbers, [len(chosen), horizon + 1, dim]; trajectory by trajectory."""
    starts = trajectories.shape[1] - horizon
    offsets = torch.arange(horizon + 1, device=chosen.device)
    row = torch.div(chosen, starts, rounding_mode="floor")
    return trajectories[row.unsqueeze(-1), (chosen % starts).unsqueeze(-1) + offsets]
