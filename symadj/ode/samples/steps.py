"""One step of some samples of a batch, each from its own time to its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from symadj.ode.engine import Step
from symadj.ode.methods import Attempt
from symadj.ode.samples.instants import Instants


@dataclass(frozen=True)
class Answers:
    """Outputs of some samples at one step, at most one of each.

    Attributes:
        at: places of the samples among those of the step.
        rows: their numbers.
        times: the numbers of the outputs.
    """

    at: Tensor
    rows: Tensor
    times: Tensor

    def cotangents(self, of_outputs: Tensor, count: int) -> Tensor:
        """Those of these outputs in the places of their samples among so many, zeros elsewhere."""
        zeros = of_outputs.new_zeros((count, *of_outputs.shape[2:]))
        return zeros.index_copy(0, self.at, of_outputs[self.times, self.rows])


@dataclass(frozen=True)
class SampleStep(Step):
    """One accepted step of some samples and the outputs that it answered.

    `t0` and `t1` are `Instants`. `interior` has (n, theta) with theta [A, 1, ..., 1] for the n-th
    output inside the step, of the samples that have so many; theta is 0 for the others.

    Attributes:
        inside: of every entry of `interior`, whose outputs these are.
        ending: outputs at t1 exactly.
    """

    inside: tuple[Answers, ...] = ()
    ending: Answers | None = None

    def part(self, whole: Tensor) -> Tensor:
        """The samples of this step."""
        return whole[instants_of(self)[0].index]

    def put(self, whole: Tensor, part: Tensor) -> Tensor:
        """The whole batch, with this for the samples of this step."""
        return whole.index_copy(0, instants_of(self)[0].index, part)

    def of_end(self, cotangents: Tensor) -> Tensor | None:
        """Of the outputs at the ends; zeros for samples without one."""
        if self.ending is None:
            return None
        return self.ending.cotangents(cotangents, len(instants_of(self)[0].rows))

    def of_inside(self, cotangents: Tensor) -> list[tuple[Any, Tensor]]:
        """(theta, cotangent) of the outputs inside; zeros for samples without one."""
        count = len(instants_of(self)[0].rows)
        return [
            (theta, answers.cotangents(cotangents, count))
            for (_, theta), answers in zip(self.interior, self.inside, strict=True)
        ]


def chosen(attempt: Attempt, keep: np.ndarray) -> Attempt:
    """The same attempt of a part of its samples.

    Args:
        attempt: of some samples.
        keep: bool, which of them.
    """
    if keep.all():
        return attempt
    start, end = instants_of(attempt)
    rows = np.flatnonzero(keep)
    at = start.samples.index(rows)
    part = Attempt(start[rows], end[rows], attempt.y0[at], len(attempt.ks))
    part.y1 = None if attempt.y1 is None else attempt.y1[at]
    part.reused = attempt.reused
    part.ks = [None if k is None else k[at] for k in attempt.ks]
    return part


def instants_of(attempt: Attempt | Step) -> tuple[Instants, Instants]:
    """Its start and its end."""
    start: Any = attempt.t0
    end: Any = attempt.t1
    return start, end


def grids(steps: Sequence[Step], count: int) -> list[np.ndarray]:
    """The times of every sample's steps, its start among them.

    Args:
        steps: of a solve, in the order in which they were made.
        count: B.
    """
    starts, ends = zip(*map(instants_of, steps), strict=True)
    rows = np.concatenate([start.rows for start in starts])
    order = np.argsort(rows, kind="stable")
    made = np.bincount(rows, minlength=count)
    after = np.concatenate([end.host for end in ends])[order]
    # A step begins where the one before has ended.
    first = np.cumsum(made) - made
    begin = np.concatenate([start.host for start in starts])[order][first]
    return [
        np.concatenate([begin[i : i + 1], after[first[i] : first[i] + made[i]]])
        for i in range(count)
    ]
