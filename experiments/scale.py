"""Ten thousand steps, a hundred thousand samples: what a step and what a sample cost.

    python experiments/scale.py --preset cpu       measure what is missing, write results/scale
    python experiments/scale.py --dry-run          the commands and how long they take
    python experiments/scale.py --redraw           tables and figure from the saved records

The symplectic adjoint method with each of its stores. The time of a step does not depend on their
number N and the time of a sample not on the batch; the memory of store=revolve does not depend on N
either, that of store=steps grows by a state a step, that of store=stages by s + 1 of them.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.figures import draw_line
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import Style, dress
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING
from symadj.report.tables import pivot

GRADS = ("symplectic", "symplectic_stages")
SLOTS = 50
REVOLVE = "symplectic_revolve"
FLOW = (
    "data=mixture",
    "data.dim=8",
    "model.hidden=[64,64,64]",
    "solver=midpoint",
    "threads=2",
    "compare=false",
    "time_limit=null",
)
STYLES = {
    "symplectic": Style("#C03A00", "o", "", (0, None)),
    "symplectic_stages": Style("#E69F00", "s", "", (0, (5, 1.5))),
    REVOLVE: Style("#0072B2", "D", "", (0, (1.2, 1.2))),
}
TITLES = {"symplectic": "store=steps", "symplectic_stages": "store=stages"}
# Seconds of one step of one row at batch 100, and of a thousand samples in ten steps.
PER_STEP, PER_THOUSAND = 0.003, 0.06


def along_steps(steps: Sequence[int], batch: int, *more: str) -> list[Command]:
    """Every store at every number of steps; a few steps are timed more often."""
    revolve = ("grad=symplectic", "grad.store=revolve", f"grad.slots={SLOTS}")
    return [
        Command(
            "bench",
            (
                *FLOW,
                f"train.batch_size={batch}",
                f"steps=[{n}]",
                f"grads=[{','.join(GRADS)}]",
                f"rows={{{REVOLVE}:{list(revolve)!r}}}",
                f"repeats={timed(n)}",
                *more,
            ),
            {"axis": "N", "N": n, "batch": batch},
            2.0 + PER_STEP * n * 3 * (3.5 + timed(n)),
            isolate=False,
        )
        for n in steps
    ]


def along_batch(batches: Sequence[int], steps: int, *more: str) -> list[Command]:
    """The two stores that do not recompute steps, at every batch size."""
    return [
        Command(
            "bench",
            (
                *FLOW,
                f"train.batch_size={batch}",
                f"steps=[{steps}]",
                f"grads=[{','.join(GRADS)}]",
                f"repeats={timed(batch // 10)}",
                *more,
            ),
            {"axis": "batch", "N": steps, "batch": batch},
            2.0 + PER_THOUSAND * batch / 1000 * 2 * (2.5 + timed(batch // 10)),
            isolate=False,
        )
        for batch in batches
    ]


def timed(n: int) -> int:
    """Timed evaluations of a row whose evaluation has so many parts."""
    return 1 if n >= 10_000 else 3 if n >= 1_000 else 15


def paper(_: Namespace) -> Preset:
    """N = 10 ... 10,000 and batch 100 ... 100,000."""
    return Preset(
        [
            *along_steps((10, 100, 1_000, 10_000), 100),
            *along_batch((100, 1_000, 10_000, 100_000), 10),
        ],
        [
            "Synthetic mixture, 8-d, 64-64-64 tanh, one component, Hutchinson's trace on noise "
            "drawn once per solve, midpoint rule, float32. Over N: batch 100. Over the batch: 10 "
            "steps. An iteration of 10,000 steps or 100,000 samples is timed once.",
            f"{REVOLVE}: at most {SLOTS} states are kept; a step's start is recomputed from the "
            "nearest one, up to three times for N = 10,000.",
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    small = ("model.hidden=[4]", "data.size=20")
    tiny = [*along_steps((2, 4), 4, *small), *along_batch((4, 8), 2, *small)]
    return Preset(tiny, ["A few points on a tiny network; no result."])


def report(results: Results) -> Drawn:
    """A table along each axis, how constant the quotients are, and four panels."""
    runs = with_quotients(results.runs)
    sheets = []
    for axis, name in (("N", "steps"), ("batch", "batch")):
        own = where(runs, runs["axis"] == axis)
        if len(own):
            cells = ["time", f"time per {PARTS[axis]} (us)", "memory", "evaluations"]
            table = pivot(own, [axis, "grad"], [], cells, counts=False)
            title = f"One iteration against {LABELS[axis]}"
            sheets.append(Sheet(name, table, title, mark_best=False))
    note = (
        "spread: the largest over the smallest along the axis; memory: from the first to the last "
        "value of the axis, all of them peaks in MiB."
    )
    spread = Sheet("spread", spread_table(runs), "How constant", [note], mark_best=False)
    return Drawn([*sheets, spread], {"scale": figure_of(runs)})


PARTS = {"N": "step", "batch": "sample"}
LABELS = {"N": "steps N", "batch": "samples in the batch"}


def with_quotients(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with microseconds and KiB per step and per sample."""
    time = numbers(column(runs, "seconds.iteration.median"))
    memory = numbers(column(runs, "memory.peak_bytes"))
    more = {}
    for axis, part in PARTS.items():
        count = numbers(column(runs, axis))
        more[f"metrics.time per {part} (us)"] = 1e6 * time / count
        more[f"metrics.memory per {part} (KiB)"] = memory / 1024 / count
    return runs.assign(**more)


def spread_table(runs: pd.DataFrame) -> pd.DataFrame:
    """How much the time of a step and of a sample, and the memory, change along their axes."""
    rows = {}
    good = where(runs, runs["status"] == "ok")
    for grad in STYLES:
        row = {}
        for axis, part in PARTS.items():
            own = where(good, (good["axis"] == axis) & (good["grad"] == grad)).sort_values(axis)
            time = numbers(column(own, f"metrics.time per {part} (us)"))
            memory = numbers(column(own, "memory.peak_bytes")) / 2**20
            told = len(own) > 1
            row[f"time per {part}: spread"] = f"{time.max() / time.min():.3g}" if told else MISSING
            row[f"memory over {axis} (MiB)"] = (
                f"{memory.iloc[0]:.3g} to {memory.iloc[-1]:.3g}" if told else MISSING
            )
        rows[grad] = row
    table = pd.DataFrame(rows).T
    table.index.name = "grad"
    return table


def figure_of(runs: pd.DataFrame) -> Figure:
    """Time of a step and memory over N; time and memory of a sample over the batch."""
    good = where(runs, runs["status"] == "ok")
    panels = (
        ("N", "metrics.time per step (us)", 1.0, "time per step (µs)"),
        ("N", "memory.peak_bytes", 2.0**20, "peak memory (MiB)"),
        ("batch", "metrics.time per sample (us)", 1.0, "time per sample (µs)"),
        ("batch", "metrics.memory per sample (KiB)", 1.0, "peak memory per sample (KiB)"),
    )
    figure, axes = panel_grid([label for *_, label in panels])
    for ax, (axis, name, unit, label) in zip(axes, panels, strict=True):
        draw_panel(ax, where(good, good["axis"] == axis), axis, name, unit)
        dress(ax, LABELS[axis], label)
    legend_above(figure, axes)
    return figure


def draw_panel(ax: Axes, runs: pd.DataFrame, axis: str, name: str, unit: float) -> None:
    """A line for each store, over an axis from 0 where the values are no factor of eight apart."""
    x, y = numbers(column(runs, axis)), numbers(column(runs, name)) / unit
    for grad, style in STYLES.items():
        own = where(runs, runs["grad"] == grad)
        label = TITLES.get(grad, f"store=revolve, {SLOTS} slots")
        line = numbers(column(own, axis)), numbers(column(own, name)) / unit
        draw_line(ax, *line, style, label)
    log_if_wide(ax, "x", x)
    log_if_wide(ax, "y", y)
    if ax.get_yscale() == "linear" and y.notna().any():
        ax.set_ylim(0, 1.15 * y.max())


EXPERIMENT = Experiment(
    name="scale",
    purpose="Time and memory at thousands of steps and samples.",
    presets={"paper": paper, "cpu": paper, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
