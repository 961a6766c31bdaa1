"""What the processes of torchrun do for the tests of `symadj.run.ranks`, and a task that fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from symadj.config.compose import compose
from symadj.models.cnf import CNF
from symadj.run.train import train
from tests.standins import Shrink

FLOW = (
    *("data=toy2d", "data.size=300", "model=cnf", "model.hidden=[8]", "optim=adam"),
    *("train.batch_size=33", "train.eval_every=20", "train.steps=10", "train.figures=false"),
    *("train.max_seconds=null", "device=cpu", "dtype=float64", "measure=none"),
)
RK4 = ("solver=rk4", "solver.num_steps=3")
CASES = {
    "fixed": (*RK4, "train.clip=0.5", "train.ema=0.9", "model.components=2", "train.steps=50"),
    "single": (*RK4, "dtype=float32", "measure=default", "train.steps=50"),
    "normed": (*RK4, "model.batch_norm=true", "train.steps=50"),
    "synced": ("solver=dopri5", "solver.sync=true", "train.steps=50"),
    "dop853": ("solver=dop853", "solver.sync=true", "grad=adjoint", "train.steps=3"),
    "spared": (
        *(*RK4, "grad=backprop", "model._target_=tests.run.ranked.Spared", "task.jacobian=0.1"),
        "optim.weight_decay=0.1",
    ),
}


class Spared(CNF):
    """A flow with a parameter that takes no part in it."""

    def __init__(self, dim: int, **settings: Any) -> None:
        super().__init__(dim, **{name: settings[name] for name in ("hidden", "trace", "noise")})
        self.spare = nn.Parameter(torch.ones(3))


def settings(case: str, out: Path) -> list[str]:
    """The overrides of a case, whose run is `out/CASE`."""
    return [*FLOW, *CASES[case], f"out={out}", f"name={case}"]


class FailingRank(Shrink):
    """`Shrink` that goes wrong on the second rank alone."""

    def _fail(self) -> None:
        if os.environ["RANK"] == "1":
            super()._fail()


def main(out: Path) -> None:
    for case in CASES:
        train(compose("train", settings(case, out)))
    train(compose("train", [*settings("fixed", out), "name=first_half", "train.steps=25"]))
    resume = f"resume={out / 'other_half'}"
    train(compose("train", [*settings("fixed", out), "name=other_half", resume]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
