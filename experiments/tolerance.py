"""Gradient error, likelihood and time against the tolerance: where the adjoint method goes wrong.

    python experiments/tolerance.py --preset cpu   measure what is missing, write results/tolerance
    python experiments/tolerance.py --dry-run      the commands and how long they take
    python experiments/tolerance.py --redraw       tables and figure from the saved records

atol = 1e-8 ... 1e-2, rtol = 100 atol. Two errors are told apart, on the weights of a training and
in float64: that of a method against the exact gradient of its own discrete solution, and that
against the gradient of the converged solution, which the discretisation enters. The likelihood is
that of flows trained at the tolerance and tested at a tight one, with the exact trace.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

import numpy as np
import pandas as pd

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.figures import Panel, method_lines
from symadj.report.frames import column, where
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
LEAST = 1e-17
FLOW = ("data=mixture", "data.dim=8", "data.spread=6", "data.size=500", "threads=1")
TRAINED = ("train.max_seconds=null", "train.figures=false", "train.test=false", "measure=none")
# Seconds of an iteration of training, the slowest method, by atol.
ITERATION = {1e-8: 0.3, 1e-7: 0.15, 1e-6: 0.1, 1e-5: 0.07, 1e-4: 0.06, 1e-3: 0.05, 1e-2: 0.05}


def solver(atol: float) -> tuple[str, str]:
    """The tolerances that belong to an atol."""
    return f"solver.atol={atol:g}", f"solver.rtol={100 * atol:g}"


def training(
    network: Sequence[str], atol: float, steps: int, grad: str = "symplectic", seed: int = 0
) -> Command:
    """A flow trained at a tolerance."""
    settings = (f"grad={grad}", f"seed={seed}", f"train.steps={steps}", f"train.eval_every={steps}")
    labels = {"part": "training", "grad": grad, "atol": atol, "steps": steps, "seed": seed}
    seconds = 2.0 + steps * ITERATION.get(atol, 0.1)
    overrides = (*FLOW, *network, *TRAINED, *settings, *solver(atol))
    return Command("train", overrides, labels, seconds, isolate=False)


def gradients(network: Sequence[str], trained: Command, atol: float, batch: int) -> Command:
    """Errors and seconds of the five methods on the weights of a training."""
    settings = (
        f"grads=[{','.join(GRADS)}]",
        f"train.batch_size={batch}",
        "dtype=float64",
        "measure=none",
        "repeats=3",
        "converged=1e-10",
    )
    overrides = (*FLOW, *network, *settings, *solver(atol))
    seconds = 5.0 + 40 * ITERATION.get(atol, 0.1)
    return Command(
        "bench", overrides, {"part": "gradient", "atol": atol}, seconds, trained, isolate=False
    )


def likelihood(network: Sequence[str], trained: Command, batch: int) -> Command:
    """The NLL of a trained flow on fresh points, at a tight tolerance with the exact trace."""
    settings = (
        "grads=[symplectic]",
        f"train.batch_size={batch}",
        "model.trace=exact",
        "seed=1000",
        "data.seed=" + str(trained.labels["seed"]),
        "measure=none",
        "repeats=1",
        "compare=false",
        "solver.atol=1e-7",
        "solver.rtol=1e-5",
    )
    labels = {**trained.labels, "part": "nll"}
    return Command("bench", (*FLOW, *network, *settings), labels, 3.0, trained, isolate=False)


def preset(
    atols: Sequence[float],
    trained_at: Sequence[float],
    steps: tuple[int, int],
    seeds: int,
    batches: tuple[int, int],
    hidden: str,
    note: str,
) -> Preset:
    """The three parts."""
    network = (f"model.hidden={hidden}",)
    base = training(network, 1e-5, steps[0])
    trainings = [
        training(network, atol, steps[1], grad, seed)
        for seed in range(seeds)
        for atol in trained_at
        for grad in GRADS
    ]
    told = (
        f"Synthetic mixture, 8-d, modes 6 deviations apart; a flow of {hidden} tanh, dopri5, "
        f"rtol = 100 atol. Gradients: float64, batch {batches[0]}, weights after {steps[0]} "
        f"iterations. NLL: after {steps[1]} iterations of Adam, {seeds} seeds, on {batches[1]} "
        "fresh points at atol 1e-7, rtol 1e-5."
    )
    commands = [
        *(gradients(network, base, atol, batches[0]) for atol in atols),
        *(likelihood(network, command, batches[1]) for command in trainings),
    ]
    own = [] if base in trainings else [base]
    return Preset(commands, [told, note], [*own, *trainings])


def paper(_: Namespace) -> Preset:
    """The whole grid, long trainings."""
    grid = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    note = "The paper draws its curve for MINIBOONE."
    return preset(grid, grid, (3000, 3000), 5, (1000, 5000), "[64,64,64]", note)


def cpu(_: Namespace) -> Preset:
    """Fits two cores."""
    grid = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
    note = (
        "Reduced for two cores: a mixture in place of MINIBOONE, few iterations (at a learning "
        "rate of 1e-2), two seeds, training at five of the seven tolerances."
    )
    trained_at = (1e-7, 1e-6, 1e-4, 1e-3, 1e-2)
    return preset(grid, trained_at, (300, 150), 2, (200, 500), "[64,64,64]", note)


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    return preset((1e-2,), (1e-2,), (2, 2), 1, (4, 8), "[4]", "A tiny flow; no result.")


def report(results: Results) -> Drawn:
    """Tables of errors and of likelihoods, one figure of four panels."""
    runs = sorted_out(results.runs)
    sheets = []
    errors = where(runs, runs["part"] == "gradient")
    if len(errors):
        names = ["gradient_error", "gradient_error_converged", "time", "evaluations"]
        table = pivot(errors, ["atol", "grad"], [], names, counts=False)
        note = (
            "gradient_error: against the exact gradient of the method's own discrete solution; "
            "0 stands as 1e-17. gradient_error_converged: against the gradient of dop853 at rtol = "
            "atol = 1e-10, so that the discretisation's error is in it too."
        )
        sheets.append(Sheet("errors", table, "Errors of gradients", [note], mark_best=False))
    flows = where(runs, runs["part"] == "nll")
    if len(flows):
        table = pivot(flows, ["atol"], ["grad"], ["nll"], counts=False)
        title = "NLL (nats) of flows trained at a tolerance"
        sheets.append(Sheet("nll", table, title, mark_best=False))
    panels = [
        Panel("gradient_error", "gradient error: own discrete solution"),
        Panel("gradient_error_converged", "gradient error: converged solution"),
        Panel("nll", "NLL after training (nats)", log=False),
        Panel("time", "time (s/iteration)"),
    ]
    figure = method_lines(runs, "atol", "atol (rtol = 100 atol)", panels)
    return Drawn(sheets, {"tolerance": figure})


def sorted_out(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with every quantity in the part that it belongs to; a log axis has no error of 0."""
    trained = runs["part"] == "nll"
    nll = column(runs, "metrics.loss").where(trained)
    errors = column(runs, "metrics.gradient_error").replace(0.0, LEAST)
    seconds = column(runs, "seconds.iteration.median").mask(trained, np.nan)
    columns = {"metrics.gradient_error": errors, "metrics.test/nll": nll}
    return runs.assign(**columns, **{"seconds.iteration.median": seconds})


EXPERIMENT = Experiment(
    name="tolerance",
    purpose="Gradient error, likelihood and time against the tolerance.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
