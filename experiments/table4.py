"""Table 4 of the paper: learning the Korteweg-de Vries and the Cahn-Hilliard equation.

    python experiments/table4.py --preset cpu      train what is missing, write results/table4
    python experiments/table4.py --preset paper    10,000 iterations, 15 seeds
    python experiments/table4.py --dry-run         the commands and how long they take
    python experiments/table4.py --redraw          table and figures from the saved records

The energy-based network of HNN++ is trained from one snapshot to the next by dop853; it is scored
by the mean squared error of roll-outs over 500 snapshots. The two figures have the error of the
roll-outs over prediction time, the median over seeds, for each gradient method.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

import pandas as pd

from harness import Cell, Drawn, Experiment, Preset, Results, Sheet, main
from symadj.report.frames import column
from symadj.report.physics_figures import errors_over_time
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
SYSTEMS = {"kdv": "KdV", "cahn_hilliard": "Cahn-Hilliard"}


def cells(seeds: int, seconds: float | None, *more: str) -> list[Cell]:
    """Every system, seed and method."""
    return [
        Cell(
            "train",
            (
                f"experiment={system}",
                f"grad={grad}",
                f"seed={seed}",
                "train.figures=false",
                *more,
            ),
            {"data": label, "grad": grad, "seed": seed},
            seconds,
        )
        for system, label in SYSTEMS.items()
        for seed in range(seeds)
        for grad in GRADS
    ]


def paper(_: Namespace) -> Preset:
    """As published."""
    return Preset(
        cells(15, None),
        [
            "The published training: width 200, batch 200, 10,000 iterations of Adam at 1e-3, "
            "dop853, float64, 15 seeds."
        ],
    )


def cpu(_: Namespace) -> Preset:
    """Fits two cores."""
    settings = (
        "model.hidden=[32,32]",
        "train.batch_size=20",
        "train.steps=500",
        "train.eval_every=250",
        "task.rollout_max_steps=2000",
        "threads=1",
    )
    return Preset(
        cells(2, 60.0, *settings),
        [
            "dop853, float64, Adam at 1e-3, as published. Reduced for two cores: 500 iterations in "
            "place of 10,000, width 32 in place of 200, batch 20 in place of 200, 2 seeds in place "
            "of 15. Roll-outs that take more than 2,000 steps are given up."
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    tiny = (
        "data.trajectories=2",
        "data.steps=4",
        "model.hidden=[2,2]",
        "train.batch_size=2",
        "train.steps=2",
    )
    chosen = [replace(cell, isolate=False) for cell in cells(1, 1.0, *tiny)]
    return Preset(chosen, ["Tiny networks; no result."])


def report(results: Results) -> Drawn:
    """Errors, memory and milliseconds; roll-outs over time."""
    milliseconds = 1000 * column(results.runs, "seconds.iteration.median")
    runs = results.runs.assign(**{"metrics.time (ms/iteration)": milliseconds})
    names = ["test/state_mse", "test/derivative_mse", "memory", "time (ms/iteration)"]
    table = pivot(runs, ["grad"], ["data"], names)
    title = "Mean squared errors of roll-outs and derivatives, peak memory and time"
    figures = {
        system: errors_over_time(tables, title=label)
        for system, label in SYSTEMS.items()
        if (tables := rollouts(results, label))
    }
    return Drawn([Sheet("table4", table, title)], figures)


def rollouts(results: Results, data: str) -> dict[str, list[pd.DataFrame]]:
    """The errors over time of every run on a system, by method."""
    found: dict[str, list[pd.DataFrame]] = {}
    for grad in GRADS:
        for labels, table in results.tables:
            if (labels["data"], labels["grad"]) == (data, grad):
                found.setdefault(grad, []).append(table)
    return found


EXPERIMENT = Experiment(
    name="table4",
    purpose="Learning the Korteweg-de Vries and the Cahn-Hilliard equation.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
    table="rollout.csv",
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
