"""What a training has done so far: its iterations, their cost, its best weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from symadj.ode.stats import SolveStats


@dataclass
class Best:
    """The weights with the lowest validation metric so far; after `train.choose=last` the last."""

    iteration: int
    metric: float
    model: dict[str, Tensor]


@dataclass
class Counters:
    """How far a training is, and what its iterations have cost so far.

    Attributes:
        iteration: iterations done.
        wall: seconds spent, validations included, interruptions not.
        loss: of the last iteration.
        stale: validations since the best one.
        validated: iteration of the last validation.
        stats: counts of all solves of all iterations.
    """

    iteration: int = 0
    wall: float = 0.0
    loss: float = math.nan
    stale: int = 0
    validated: int = 0
    stats: SolveStats = field(default_factory=SolveStats)


@dataclass
class StepResult:
    """What the forward and the backward pass of one iteration gave.

    Attributes:
        loss: of the batch.
        stats: of all its solves, forward and backward.
        forward, backward: seconds; NaN where metered.
        memory: as in a run record, where metered.
    """

    loss: float
    stats: SolveStats
    forward: float
    backward: float
    memory: dict[str, Any] | None = None


@dataclass
class Timings:
    """Seconds of every timed iteration, by part."""

    iteration: list[float] = field(default_factory=list)
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)
    optimizer: list[float] = field(default_factory=list)

    def add(self, forward: float, backward: float, optimizer: float) -> None:
        """Adds one iteration."""
        self.forward.append(forward)
        self.backward.append(backward)
        self.optimizer.append(optimizer)
        self.iteration.append(forward + backward + optimizer)
