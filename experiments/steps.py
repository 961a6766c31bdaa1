"""Memory and time against the number of fixed steps, up to 10,000, and against the batch.

    python experiments/steps.py --preset cpu       measure what is missing, write results/steps
    python experiments/steps.py --dry-run          the commands and how long they take
    python experiments/steps.py --redraw           tables and figures from the saved records

The paper's memory grows with N s L for backprop and the one checkpoint, with N + s L for ACA, with
N + s + L for the symplectic adjoint method, and not at all for the adjoint method. So there is a
number of steps from which on symplectic needs more than the adjoint; with at most a given number of
states kept (store=revolve) there may be none.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.figures import Panel, method_lines
from harness.rows import rows_setting
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING, ordered
from symadj.report.tables import pivot

GRADS = ("adjoint", "backprop", "checkpoint", "aca", "symplectic", "symplectic_stages")
GROWING = ("backprop", "checkpoint", "aca")
"""Methods that are not measured beyond `SHORT` steps."""
SHORT = 1000
SLOTS = 50
REVOLVE = "symplectic_revolve"
STORES = {
    "symplectic": "store=steps",
    "symplectic_stages": "store=stages",
    REVOLVE: f"store=revolve with {SLOTS} slots",
}
FLOW = (
    "experiment=gas_sized",
    "solver=rk4",
    "threads=1",
    "compare=false",
    "warmup=1",
    "time_limit=null",
)
# Seconds of a row for a step at batch 100, and of a row for a thousand samples in ten steps, on one
# thread; and what starting a row takes.
PER_STEP, PER_THOUSAND, STARTS = 0.0095, 0.4, 3.0


def along_steps(steps: Sequence[int], batch: int, *more: str) -> Iterator[Command]:
    """All methods at every number of steps, those whose memory does not grow beyond `SHORT`."""
    revolve = ("grad=symplectic", "grad.store=revolve", f"grad.slots={SLOTS}")
    for n in steps:
        grads = [name for name in GRADS if n <= SHORT or name not in GROWING]
        labels = {"axis": "N", "N": n}
        settings = (f"steps=[{n}]", rows_setting({REVOLVE: revolve}), *more)
        seconds = (STARTS + PER_STEP * n * (2.3 + timed(n))) * (len(grads) + 1)
        yield _benchmark(grads, batch, timed(n), settings, labels, seconds)


def along_batch(batches: Sequence[int], steps: int, *more: str) -> Iterator[Command]:
    """The adjoint and the two stores that do not recompute steps, at every batch size."""
    grads = [name for name in GRADS if name not in GROWING]
    for batch in batches:
        labels = {"axis": "batch", "batch": batch}
        repeats = timed(batch // 10)
        seconds = (STARTS + PER_THOUSAND * batch / 1000 * (2.3 + repeats)) * len(grads)
        yield _benchmark(grads, batch, repeats, (f"steps=[{steps}]", *more), labels, seconds)


def _benchmark(
    grads: Sequence[str],
    batch: int,
    repeats: int,
    settings: Sequence[str],
    labels: dict[str, str | int | float],
    seconds: float,
) -> Command:
    shared = (f"train.batch_size={batch}", f"grads=[{','.join(grads)}]", f"repeats={repeats}")
    return Command("bench", (*FLOW, *shared, *settings), labels, seconds)


def timed(n: int) -> int:
    """Timed evaluations of a row whose evaluation has so many parts."""
    return 1 if n >= 300 else 5


PROBLEM = "Synthetic mixture, 8-d, GAS's network (160-160-160 tanh, M = 1), rk4, float32"
REVOLVES = (
    f"{REVOLVE}: at most {SLOTS} states are kept; a step's start is recomputed from the nearest "
    "one, several times where there are many steps."
)


def paper(_: Namespace) -> Preset:
    """GAS's batch."""
    commands = [
        *along_steps((10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000), 1000),
        *along_batch((100, 1_000, 10_000, 100_000), 10),
    ]
    notes = [
        f"{PROBLEM}. Over N: batch 1,000; over the batch: 10 steps. The paper's figure goes to "
        "1,000 steps; its problem and solver: not verified.",
        REVOLVES,
    ]
    return Preset([replace(command, seconds=None) for command in commands], notes)


def cpu(_: Namespace) -> Preset:
    """The same network on a tenth of the batch."""
    commands = [
        *along_steps((10, 30, 100, 300, 1000, 10_000), 100, "measure.memory_budget=6GiB"),
        *along_batch((100, 300, 1_000, 3_000, 10_000), 10),
    ]
    notes = [
        f"{PROBLEM}. Over N: batch 100, reduced from 1,000 for two cores; over the batch: 10 "
        f"steps. From N = 300 and from 3,000 samples on one timed evaluation; {', '.join(GROWING)} "
        f"up to N = {SHORT:,} alone. A method that needs more than 6 GiB is out of memory.",
        REVOLVES,
    ]
    return Preset(commands, notes)


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    small = ("model.hidden=[4]", "data.size=20")
    commands = [*along_steps((2, 4), 4, *small), *along_batch((4, 8), 2, *small)]
    tiny = [replace(command, isolate=False, seconds=2.0) for command in commands]
    return Preset(tiny, ["A few points on a tiny network; no result."])


def report(results: Results) -> Drawn:
    """Tables and a figure along each axis, what a step adds, and where the curves cross."""
    runs = with_quotients(results.runs)
    sheets, figures = [], {}
    for axis, (name, label) in AXES.items():
        own = where(runs, runs["axis"] == axis)
        if own.empty:
            continue
        part = f"time per {PARTS[axis]} (ms)"
        table = pivot(own, [axis], ["grad"], ["memory", part], counts=False)
        title = f"Peak memory and time of one iteration against {label}"
        notes = [crossings(own), constancy(own, axis)] if axis == "N" else [constancy(own, axis)]
        sheets.append(Sheet(name, table, title, list(filter(None, notes)), mark_best=False))
        panels = [
            Panel("memory", "peak memory (MiB)"),
            Panel(f"metrics.{part}", part, log=axis == "batch"),
        ]
        if axis == "N":
            panels[1:1] = [
                Panel("memory.graph_bytes", "of it graph and work space (MiB)"),
                Panel("memory.checkpoints_bytes", "of it checkpoints (MiB)"),
            ]
        figures[name] = method_lines(own, axis, label, panels)
        if axis == "N":
            sheets.append(
                Sheet(
                    "growth",
                    growth_table(own),
                    "What one more step adds: slopes of linear fits over N",
                    ["A checkpoint is the state of a step: batch x (dim + 1) numbers."],
                    mark_best=False,
                )
            )
    return Drawn(sheets, figures)


AXES = {"N": ("steps", "steps N"), "batch": ("batch", "samples in the batch")}
PARTS = {"N": "step", "batch": "sample"}


def with_quotients(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with milliseconds per step and per sample."""
    time = 1e3 * numbers(column(runs, "seconds.iteration.median"))
    more = {
        f"metrics.time per {part} (ms)": time / numbers(column(runs, axis))
        for axis, part in PARTS.items()
    }
    return runs.assign(**more)


def crossings(runs: pd.DataFrame) -> str:
    """From how many steps on each store of symplectic needs more memory than the adjoint does."""
    adjoint = _memory(runs, "adjoint")
    told = [
        f"{words} {_crossing(own, adjoint)}"
        for name, words in STORES.items()
        if len(own := _memory(runs, name)) > 1 and len(adjoint)
    ]
    if not told:
        return ""
    return f"Symplectic needs more memory than the adjoint method: {'; '.join(told)}."


def _memory(runs: pd.DataFrame, grad: str) -> pd.Series:
    """Peak bytes by N, in the order of N."""
    own = where(runs, (runs["status"] == "ok") & (runs["grad"] == grad))
    peaks = numbers(column(own, "memory.peak_bytes"))
    return pd.Series(peaks.groupby(numbers(own["N"])).mean())


def _crossing(own: pd.Series, adjoint: pd.Series) -> str:
    """In words, by the linear fit of memory over N, and between which measured N it lies."""
    both = own.index.intersection(adjoint.index)
    more = pd.Series(own[both] > adjoint[both])
    if not more.any():
        return f"at no N up to {both.max():,.0f}"
    first = float(np.min(both.to_numpy()[more.to_numpy()]))
    slope, base = np.polyfit(own.index.to_numpy(), own.to_numpy(), 1)
    at = (float(adjoint.mean()) - base) / slope
    below = [float(n) for n in both if n < first]
    if not below:
        return f"at every N, from {first:,.0f} on"
    return (
        f"from N = {at:,.0f} on (linear fit; measured: between {below[-1]:,.0f} and {first:,.0f})"
    )


def constancy(runs: pd.DataFrame, axis: str) -> str:
    """How much the time of a step, or of a sample, changes along its axis."""
    part = f"time per {PARTS[axis]} (ms)"
    good = where(runs, runs["status"] == "ok")
    spreads = []
    for (grad,) in ordered({(str(name),) for name in good["grad"]}):
        time = numbers(column(where(good, good["grad"] == grad), f"metrics.{part}")).dropna()
        if len(time) > 1:
            spreads.append(f"{grad} {time.max() / time.min():.3g}")
    if not spreads:
        return ""
    return f"Largest over smallest time per {PARTS[axis]}: {', '.join(spreads)}."


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
    for (grad,) in ordered({(str(name),) for name in good["grad"]}):
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
    purpose="Memory and time against the number of fixed steps and against the batch.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
