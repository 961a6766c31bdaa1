"""A point is wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symadj.errors import InputError
from symadj.guide.goals.base import Goal, Subject
from symadj.ranges import require


class Target(Goal):
    """All samples are to be at one point: loss(x) = |x - point|^2, in the units of the data.

    Args:
        point: its entries.

    Raises:
        InputError: an entry that is no number.
    """

    def __init__(self, point: Sequence[float] = (0.0, 0.0)) -> None:
        require("goal", point=list(point))
        self.point = tuple(map(float, point))
        self.description = f"target: ({', '.join(f'{value:g}' for value in self.point)})"

    def bind(self, subject: Subject) -> None:
        """`Goal.bind`."""
        if subject.dim != len(self.point):
            raise InputError(
                f"point={list(self.point)} has {len(self.point)} entries, and a sample of "
                f"{subject.name} has {subject.dim}; give as many."
            )

    def __call__(self, x: Tensor) -> Tensor:
        """`Goal.__call__`."""
        point = torch.tensor(self.point, dtype=x.dtype, device=x.device)
        return (x - point).square().flatten(1).sum(1)

    def metrics(self, x: Tensor) -> dict[str, Tensor]:
        """ "distance" to the point."""
        return {"distance": self(x).sqrt()}
