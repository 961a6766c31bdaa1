"""Memory and time against the number of fixed steps, N = 10 ... 1,000.

    python experiments/steps.py --preset cpu       measure what is missing, write results/steps
    python experiments/steps.py --dry-run          the commands and how long they take
    python experiments/steps.py --redraw           tables and figure from the saved records

The paper's memory grows with N s L for backprop and the one checkpoint, with N + s L for ACA and
with N + s + L for the symplectic adjoint method.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

import numpy as np
import pandas as pd

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.figures import Panel, method_lines
from symadj.report.frames import where
from symadj.report.names import MISSING
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
GAS = (
    "experiment=gas_sized",
    "solver=dopri5",
    "threads=1",
    "compare=false",
    "warmup=1",
)
# Seconds of all five methods for a step, one thread, batch 100; and what starting them takes.
PER_STEP, STARTS = 0.055, 20.0


def commands(steps: tuple[int, ...], batch: int, repeats: int, *more: str) -> list[Command]:
    """A benchmark of the five methods for every number of steps."""
    return [
        Command(
            "bench",
            (
                *GAS,
                f"train.batch_size={batch}",
                f"steps=[{n}]",
                f"grads=[{','.join(GRADS)}]",
                f"repeats={repeats if n <= 200 else 1}",
                *more,
            ),
            {"N": n},
            STARTS + PER_STEP * n * batch / 100 * (2.3 + (repeats if n <= 200 else 1)),
        )
        for n in steps
    ]


def paper(_: Namespace) -> Preset:
    """GAS's network and batch, up to 1,000 steps."""
    return Preset(
        commands((10, 20, 50, 100, 200, 500, 1000), 1000, 5),
        ["Synthetic mixture, 8-d, GAS's network (160-160-160 tanh, M = 1), batch 1,000, dopri5."],
    )


def cpu(_: Namespace) -> Preset:
    """The same network on a tenth of the batch."""
    return Preset(
        commands((10, 30, 100, 300, 1000), 100, 3, "measure.memory_budget=6GiB"),
        [
            "Synthetic mixture, 8-d, GAS's network (160-160-160 tanh, M = 1), dopri5. Reduced for "
            "two cores: batch 100 in place of 1,000, five values of N; from N = 300 on one timed "
            "evaluation. A method that needs more than 6 GiB is out of memory."
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    small = ("model.hidden=[4]", "data.size=20")
    tiny = [replace(command, isolate=False) for command in commands((2, 4), 4, 1, *small)]
    return Preset(tiny, ["A few points on a tiny network; no result."])


def report(results: Results) -> Drawn:
    """A table of memory and time, and the figure."""
    table = pivot(results.runs, ["N"], ["grad"], ["memory", "time"], counts=False)
    panels = [
        Panel("memory", "peak memory (MiB)"),
        Panel("memory.graph_bytes", "of it graph and work space (MiB)"),
        Panel("memory.checkpoints_bytes", "of it checkpoints (MiB)"),
        Panel("time", "time (s/iteration)"),
    ]
    figure = method_lines(results.runs, "N", "steps N", panels)
    growth = Sheet(
        "growth",
        growth_table(results.runs),
        "What one more step adds: slopes of linear fits over N",
        ["A checkpoint is the state of a step: batch x (dim + 1) numbers."],
        mark_best=False,
    )
    title = "Memory (MiB) and seconds of one iteration against the number of steps N"
    return Drawn([Sheet("steps", table, title, mark_best=False), growth], {"steps": figure})


def growth_table(runs: pd.DataFrame) -> pd.DataFrame:
    """What every step adds to memory and time, by a linear fit; a dash where fewer than two ran."""
    good = where(runs, runs["status"] == "ok")
    columns = {
        "memory per step (KiB)": ("memory.peak_bytes", 2.0**10),
        "of it checkpoints (KiB)": ("memory.checkpoints_bytes", 2.0**10),
        "of it graph and work (KiB)": ("memory.graph_bytes", 2.0**10),
        "time (ms)": ("seconds.iteration.median", 1e-3),
    }
    rows = {}
    for grad in GRADS:
        chosen = where(good, good["grad"] == grad)
        rows[grad] = {
            name: f"{round(np.polyfit(chosen['N'], chosen[key], 1)[0] / unit, 6) + 0.0:,.4g}"
            if len(chosen) > 1
            else MISSING
            for name, (key, unit) in columns.items()
        }
    table = pd.DataFrame(rows).T
    table.index.name = "grad"
    return table


EXPERIMENT = Experiment(
    name="steps",
    purpose="Memory and time against the number of fixed steps.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
