"""Table 4 of the paper: learning the Korteweg-de Vries and the Cahn-Hilliard equation.

    python experiments/table4.py --preset cpu      run what is missing, write results/table4
    python experiments/table4.py --full            one training of all 10,000 iterations as well
    python experiments/table4.py --preset paper    10,000 iterations, 15 seeds
    python experiments/table4.py --dry-run         the commands and how long they take
    python experiments/table4.py --redraw          tables and figures from the saved records

The energy-based network of HNN++ is trained from one snapshot to the next by dop853; it is scored
by the derivative at the test states and by roll-outs over 500 snapshots. Memory and time are those
of a training step at the published size, measured apart from the trainings. The two figures have
the error of the roll-outs over prediction time, the median over seeds, for each gradient method.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from symadj.figures.physics import errors_over_time
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
SYSTEMS = {"kdv": "KdV", "cahn_hilliard": "Cahn-Hilliard"}
ERRORS = {
    "derivative_mse": "derivative MSE",
    "state_mse": "roll-out: state MSE",
    "energy_mse": "roll-out: energy MSE",
}
# Of the energy-based network with dopri5, 15 trials: Matsubara, Ishikawa, Yaguchi (2020),
# arXiv:1905.08604. What is called mass there is the state u at every point.
PUBLISHED = {"derivative_mse": 2.33e-2, "state_mse": 3.35e-4, "energy_mse": 3.01e-3}


def trainings(seeds: int, seconds: float | None, *more: str) -> list[Command]:
    """Every system, seed and method: for the errors."""
    return [
        Command(
            "train",
            (
                f"experiment={system}",
                f"grad={grad}",
                f"seed={seed}",
                "train.figures=false",
                *more,
            ),
            {"part": "train", "data": label, "grad": grad, "seed": seed},
            seconds,
        )
        for system, label in SYSTEMS.items()
        for seed in range(seeds)
        for grad in GRADS
    ]


def costs(*more: str) -> list[Command]:
    """A training step of every system by all methods at the published size: memory and time."""
    return [
        Command(
            "bench",
            (
                f"experiment={system}",
                f"grads=[{','.join(GRADS)}]",
                "repeats=3",
                "warmup=1",
                "compare=false",
                *more,
            ),
            {"part": "bench", "data": label},
            90.0,
        )
        for system, label in SYSTEMS.items()
    ]


def full(*more: str) -> Command:
    """The whole published training of one seed on KdV, by dopri5 as its published score."""
    settings = (
        *("experiment=kdv", "solver=dopri5", "solver.num_steps=1", "train.eval_every=250"),
        *("grad=symplectic", "grad.store=stages", "seed=0", "threads=1"),
    )
    labels = {"part": "full", "data": "KdV", "grad": "symplectic", "seed": 0}
    return Command("train", (*settings, *more), labels, 7200.0)


def paper(_: Namespace) -> Preset:
    """As published."""
    return Preset(
        [*trainings(15, None), *costs()],
        [
            "The published training: width 200, batch 200, 10,000 iterations of Adam at 1e-3, "
            "dop853, float64, 15 seeds. Memory and time: a training step of that size."
        ],
    )


def cpu(arguments: Namespace) -> Preset:
    """Fits two cores."""
    settings = (
        "model.hidden=[100,100]",
        "train.batch_size=20",
        "train.steps=500",
        "train.eval_every=250",
        "optim=adam_cosine",
        "task.rollout_max_steps=2000",
        "threads=1",
    )
    return _with_whole(
        arguments,
        [*trainings(2, 45.0, *settings), *costs("threads=2")],
        full(),
        [
            "Memory and time: a training step at the published size, dop853, width 200, batch 200, "
            "float64, one interval; median of 3 after 1 to warm up.",
            "Errors: dop853 and float64 as published. Reduced for two cores: 500 iterations in "
            "place of 10,000, at a learning rate that falls from 1e-2 to 0 along a cosine in place "
            "of 1e-3, width 100 in place of 200, batch 20 in place of 200, 2 seeds in place of 15. "
            "Roll-outs that take more than 2,000 steps are given up.",
        ],
    )


def smoke(arguments: Namespace) -> Preset:
    """Seconds: to see that it works."""
    tiny = ("data.trajectories=2", "data.steps=4", "model.hidden=[2,2]", "train.batch_size=2")
    short = ("train.steps=2",)
    made = [*trainings(1, 1.0, *tiny, *short), *costs(*tiny), full(*tiny, *short)]
    *commands, whole = (replace(command, isolate=False, seconds=1.0) for command in made)
    return _with_whole(arguments, commands, whole, ["Tiny networks; no result."])


def _with_whole(
    arguments: Namespace, commands: Sequence[Command], whole: Command, notes: Sequence[str]
) -> Preset:
    """The training that takes hours is run where asked for, and shown wherever it was run."""
    if arguments.full:
        return Preset([*commands, whole], notes)
    return Preset(commands, notes, shown=[whole])


def report(results: Results) -> Drawn:
    """Errors, memory and milliseconds; the whole training; roll-outs over time."""
    runs = sorted_out(results.runs)
    sheets = []
    compared = where(runs, runs["part"] != "full")
    if len(compared):
        names = ["test/state_mse", "test/derivative_mse", "memory", "time (ms/iteration)"]
        table = pivot(compared, ["grad"], ["data"], names, counts=False)
        title = "Mean squared errors of roll-outs and derivatives, peak memory and time"
        sheets.append(Sheet("table4", table, title, claims(compared)))
    whole = where(runs, runs["part"] == "full")
    if len(whole):
        sheets.append(full_sheet(whole.iloc[-1]))
    figures = {
        system: errors_over_time(tables, title=label)
        for system, label in SYSTEMS.items()
        if (tables := rollouts(results, label))
    }
    return Drawn(sheets, figures)


def sorted_out(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with memory and time of the benchmarks, errors of the trainings alone."""
    measured = runs["part"] == "bench"
    milliseconds = 1000 * column(runs, "seconds.iteration.median")
    columns = {
        "memory.peak_bytes": column(runs, "memory.peak_bytes").where(measured),
        "metrics.time (ms/iteration)": milliseconds.where(measured),
    }
    for name in ERRORS:
        key = f"metrics.test/{name}"
        columns[key] = column(runs, key).mask(measured)
    return runs.assign(**columns)


def claims(runs: pd.DataFrame) -> list[str]:
    """What the table says of the paper's three claims, in figures; nothing where cells miss."""
    told = []
    for label in SYSTEMS.values():
        here = where(runs, (runs["data.name"] == label) & (runs["status"] == "ok"))
        memory, time, error = (
            numbers(column(here, name)).groupby(here["grad"]).median().dropna()
            for name in (
                "memory.peak_bytes",
                "metrics.time (ms/iteration)",
                "metrics.test/derivative_mse",
            )
        )
        facts = [*_cost_claims(memory, time), *_error_claim(here, error)]
        if facts:
            told.append(f"{label}: {'; '.join(facts)}.")
    return told


def _cost_claims(memory: pd.Series, time: pd.Series) -> list[str]:
    others = [name for name in GRADS if name != "symplectic" and name in memory and name in time]
    if not others or "symplectic" not in memory or "symplectic" not in time:
        return []
    of = ", ".join(f"{memory['symplectic'] / memory[name]:.2f} of {name}'s" for name in others)
    as_long = ", ".join(f"{time['symplectic'] / time[name]:.2f} of {name}'s" for name in others)
    return [f"symplectic's memory is {of}", f"its time {as_long}"]


def _error_claim(runs: pd.DataFrame, error: pd.Series) -> list[str]:
    if "symplectic" not in error or len(error) < 2:
        return []
    trained = where(runs, runs["part"] == "train")
    seeds = trained.pivot_table(
        index="seed", columns="grad", values="metrics.test/derivative_mse", aggfunc="median"
    )
    apart = seeds.div(seeds["symplectic"], axis=0).sub(1).abs()
    worst = apart.max().drop("symplectic")
    name = str(worst.idxmax())
    return [
        "with the same seed the derivative MSE of the other methods differs from symplectic's by "
        f"at most {worst[name]:.1g} of it ({name})"
    ]


def full_sheet(run: pd.Series) -> Sheet:
    """The scores of the whole training beside the published ones."""
    ours = {
        title: f"{run[f'metrics.test/{name}']:.3g}"
        if run["status"] == "ok" and np.isfinite(run[f"metrics.test/{name}"])
        else MISSING
        for name, title in ERRORS.items()
    }
    theirs = {title: f"{PUBLISHED[name]:.3g}" for name, title in ERRORS.items()}
    iterations = int(run["iterations"])
    rows = {
        f"symadj, {iterations:,} iterations, 1 seed": ours,
        "published (HNN++, dopri5), 15 trials": theirs,
    }
    table = pd.DataFrame(rows).T
    table.index.name = "KdV"
    return Sheet(
        "full",
        table,
        "KdV after the whole training",
        [
            "Ours: grad=symplectic, one step of dopri5 per interval, width 200, batch 200, Adam at "
            "1e-3, float64, seed 0; the weights with the least loss in validation. Published: "
            "arXiv:1905.08604, whose score of the mass is that of the state u at every point."
        ],
        mark_best=False,
    )


def rollouts(results: Results, data: str) -> dict[str, list[pd.DataFrame]]:
    """The errors over time of every training of the comparison on a system, by method."""
    found: dict[str, list[pd.DataFrame]] = {}
    for grad in GRADS:
        for labels, table in results.tables:
            if (labels["part"], labels["data"], labels.get("grad")) == ("train", data, grad):
                found.setdefault(grad, []).append(table)
    return found


def arguments(parser: ArgumentParser) -> None:
    """The training that takes hours is asked for."""
    parser.add_argument(
        "--full",
        action="store_true",
        help="KdV's published training too, all 10,000 iterations of one seed (hours)",
    )


EXPERIMENT = Experiment(
    name="table4",
    purpose="Learning the Korteweg-de Vries and the Cahn-Hilliard equation.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
    table="rollout.csv",
    arguments=arguments,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
