"""What grad=auto predicts is what the meter reads, on the benchmark's problems made small."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from symadj.bench.problem import BenchProblem
from symadj.calls.integrator import Integrator
from symadj.config.compose import compose
from symadj.grad import ACA, Backprop, Checkpoint, GradientMethod, Symplectic
from symadj.grad.forecast import Solve, Use, forecasts
from symadj.meters.meter import make_meter
from symadj.ode.engine import Step
from symadj.ode.problem import Problem

PROBLEMS = {
    "digits": ["train.batch_size=20"],
    "gas": ["experiment=gas_sized", "train.batch_size=40", "model.hidden=[80,80]"],
    "flow": ["data=toy2d", "model.components=3", "model.hidden=[40]", "train.batch_size=60"],
    "energy_conv": ["experiment=kdv", "data.trajectories=2", "data.steps=4", "train.batch_size=2"],
}
METHODS: dict[tuple[str, str], GradientMethod] = {
    ("backprop", ""): Backprop(),
    ("checkpoint", ""): Checkpoint(),
    ("aca", "steps"): ACA(),
    ("symplectic", "stages"): Symplectic("stages"),
    ("symplectic", "steps"): Symplectic(),
    ("symplectic", "revolve"): Symplectic("revolve", slots=2),
}


class Tracing(GradientMethod):
    """Backpropagation that traces a use of every solve's field before it."""

    name = "tracing"

    def __init__(self) -> None:
        self.solves: list[Solve] = []

    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        use = Use.trace(problem.field, problem.times[0], y0)
        ys, steps = Backprop().solve(problem, y0)
        stages = problem.settings.solver.uses
        self.solves.append(Solve(use, stages, len(steps), len(problem.times)))
        return ys, steps


def small_problem(overrides: list[str]) -> BenchProblem:
    return BenchProblem.of(compose("train", overrides))


@pytest.mark.parametrize("name", PROBLEMS)
def test_forecasts_are_within_15_percent_of_the_metered_peak(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path))
    problem = small_problem(PROBLEMS[name])
    solver, tracing = problem.parts.integrator.solver, Tracing()
    problem.loss(Integrator(solver, tracing))
    last = tracing.solves[-1]
    solve = Solve(last.use, last.stages, last.steps, last.outputs, len(tracing.solves))
    rows = forecasts(solve, 0)
    assert len(rows) == len(METHODS) - (last.steps < 3)
    for row in rows:
        problem.parts.model.zero_grad(set_to_none=True)
        integrator = Integrator(solver, METHODS[row.method, row.store])
        with make_meter("dispatch", torch.device("cpu")) as meter:
            problem.loss(integrator).backward()
        assert row.peak == pytest.approx(meter.peak_bytes, rel=0.15), row.label
