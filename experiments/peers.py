"""symadj beside torchdiffeq and diffrax: time, memory and exactness on four problems.

    python experiments/peers.py --preset cpu       measure what is missing, write results/peers
    python experiments/peers.py --dry-run          the commands and how long they take
    python experiments/peers.py --redraw           tables and figure from the saved records

All rows of a problem share one process, weights, batch, noise, tolerances and threads, and their
repetitions take turns, so that whatever else the machine does meets all of them alike. Needs
`pip install 'symadj[peers]'`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from symadj.bench.cases import PRODUCTS, VARIANTS
from symadj.bench.profile import PARTS
from symadj.figures.style import (
    METHOD_STYLE,
    PAGE_WIDTH,
    SMALL_FONT_SIZE,
    Style,
    dress,
    new_figure,
)
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING, resolve
from symadj.report.tables import pivot

GRADS = ("symplectic", "symplectic_stages", "backprop", "aca", "adjoint")
# Rows with settings of their own: a label, and what differs.
ROWS: Mapping[str, Sequence[str]] = {
    f"{grad}_compiled": (f"grad={grad}", "compile=true")
    for grad in ("symplectic", "symplectic_stages")
}
PEERS = ("torchdiffeq", "diffrax")
THREADS = 2
TITLES = {
    "toy": "toy: d = 2, 64-64-64 tanh, batch 100, dopri5, float32",
    "GAS": "GAS: d = 8, 160-160-160 tanh, batch 1,000, dopri5, float32",
    "MINIBOONE": "MINIBOONE: d = 43, 860-860 softplus, batch 1,000, dopri5, float32",
    "KdV": "KdV: energy of 200-200 channels on 50 points, batch 200, dop853, float64",
}
CELLS = (
    "time",
    "memory",
    "gradient_error",
    "gradient_error_float64",
    "steps.accepted",
    "steps.rejected",
    "evaluations",
)
HEADERS = {
    "gradient_error (relative)": "gradient error",
    "gradient_error_float64": "in float64",
    "steps.accepted": "steps",
    "steps.rejected": "rejected",
    "evaluations (per iteration)": "evaluations",
}
NOTES = (
    "Time: median [quartiles] of the loss and its gradient; the repetitions of all rows take turns "
    "in one process, whose allocator keeps freed memory, and none is metered. Compilation is not "
    "timed.",
    "Memory: peak above what is live before, in an iteration that is not timed; of compiled rows "
    "by torch's profiler, of diffrax temporaries and results by XLA's own account.",
    "Gradient error: relative to backpropagation in float64 on the steps that the row accepted; in "
    "float64: the row's method itself on those steps. diffrax and torchdiffeq accept steps of "
    "their own, so that the first has the difference of two discretisations in it.",
    "autograd: the derivative inside the field (a flow's trace, the gradient of KdV's energy) by "
    "reverse-mode differentiation, as a user would write it; other rows take it as symadj's models "
    "do (a tangent carried forward, the energy's gradient written out).",
    "compiled: compile=true, which compiles the toy's flow alone; the larger fields are left to "
    "their own formulas, in blocks of rows that fit the cache, which are faster on a CPU.",
    "Steps and evaluations of an adjoint method are those of both directions. diffrax does not "
    "count its evaluations.",
)
NOTE_PRODUCTS = (
    f"{PRODUCTS.label}: as many products, of the same shapes, as one iteration of symplectic "
    "needs, each of all rows at once, and nothing else; symadj's own come in blocks, a share of "
    "the rows for each thread."
)
NOTE_PROFILE = (
    "Parts in percent of the seconds under the profiler, which slows small operations down: "
    "products of matrices; all other operations, and what is compiled, its products among it; the "
    "autograd engine, "
    "with the Python of the backward passes that it calls (of a replay all of it); error estimates "
    "and step sizes; and the rest, the forward pass's Python and the launching of operations."
)
NOTE_DOPRI8 = (
    "dop853 is symadj's; torchdiffeq and diffrax step with dopri8 in its place, another tableau of "
    "order 8 (Prince and Dormand, 13 stages)."
)


def command(
    name: str, overrides: Sequence[str], repeats: int, seconds: float, flow: bool
) -> Command:
    """All rows of a problem.

    Args:
        name: of the problem.
        overrides: that make it.
        repeats: timed evaluations of every row.
        seconds: in all, about.
        flow: whether its matrix products are counted.
    """
    rows = ",".join(f"{label}:{list(changes)!r}" for label, changes in ROWS.items())
    return Command(
        "bench",
        (
            *overrides,
            f"grads=[{','.join(GRADS)}]",
            *((f"rows={{{rows}}}",) if rows else ()),
            f"peers=[{','.join(PEERS)}]",
            f"products={str(flow).lower()}",
            "profile=true",
            f"repeats={repeats}",
            f"threads={THREADS}",
        ),
        {"data": name},
        seconds,
        isolate=False,
    )


def cpu(_: Namespace) -> Preset:
    """The published sizes; there is nothing to reduce."""
    return Preset(
        [
            command("toy", ("experiment=toy_sized",), 41, 110.0, flow=True),
            command("GAS", ("experiment=gas_sized",), 15, 150.0, flow=True),
            command("MINIBOONE", ("experiment=miniboone_sized",), 5, 380.0, flow=True),
            command("KdV", ("experiment=kdv",), 5, 280.0, flow=False),
        ],
        [
            "Fresh weights; synthetic mixtures of the sizes of FFJORD's toy sets, GAS and "
            "MINIBOONE with its networks, Hutchinson's trace, atol 1e-8, rtol 1e-6; KdV's energy "
            "network at its published size, one interval, atol 1e-9, rtol 1e-7."
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds, and as many for every function that XLA compiles: to see that it works."""
    flow = ("experiment=toy_sized", "data.size=20", "model.hidden=[4]", "train.batch_size=4")
    waves = ("experiment=kdv", "data.trajectories=2", "data.steps=4", "model.hidden=[4,4]")
    return Preset(
        [
            command("toy", (*flow, "solver.rtol=1e-3", "solver.atol=1e-3"), 2, 20.0, flow=True),
            command("KdV", (*waves, "train.batch_size=2"), 2, 30.0, flow=False),
        ],
        ["Tiny networks; no result."],
    )


@dataclass(frozen=True)
class Target:
    """A ratio of two rows that the project has set itself.

    Attributes:
        text: what it is.
        name: of the quantity, as `symadj.report.names.resolve` takes it.
        row: above the line.
        over: below it; of several rows the one with the least.
        bounds: the most that it may be, by problem.
    """

    text: str
    name: str
    row: str
    over: tuple[str, ...]
    bounds: Mapping[str, float]

    def cell(self, runs: pd.DataFrame, problem: str) -> str:
        """The ratio on a problem with what it may be; a dash where a row is missing."""
        own = where(runs, (runs["data.name"] == problem) & (runs["status"] == "ok"))
        above, below = (
            numbers(resolve(self.name, runs).values(chosen)).min()
            for chosen in (
                where(own, own["grad"] == self.row),
                where(own, own["grad"].isin(self.over)),
            )
        )
        if np.isnan(above) or np.isnan(below):
            return MISSING
        ratio, bound = float(above / below), self.bounds.get(problem)
        if bound is None:
            return f"{ratio:.3g}"
        return f"{ratio:.3g} ({bound:g}{'' if ratio <= bound else ': missed'})"


AUTOGRAD = ", autograd trace"
TARGETS = (
    Target(
        "time: symplectic to torchdiffeq adjoint, autograd",
        "time",
        "symplectic",
        (f"torchdiffeq adjoint{AUTOGRAD}",),
        {"toy": 0.35, "GAS": 0.45, "MINIBOONE": 0.5},
    ),
    Target(
        "time: symplectic_stages to torchdiffeq adjoint, autograd",
        "time",
        "symplectic_stages",
        (f"torchdiffeq adjoint{AUTOGRAD}",),
        {"toy": 0.35, "GAS": 0.45, "MINIBOONE": 0.5},
    ),
    Target(
        "time: symplectic_compiled to the faster row of diffrax",
        "time",
        "symplectic_compiled",
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {"toy": 1.0, "GAS": 1.0, "MINIBOONE": 0.95},
    ),
    Target(
        "time: symplectic_stages_compiled to the faster row of diffrax",
        "time",
        "symplectic_stages_compiled",
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {"toy": 1.0, "GAS": 1.0, "MINIBOONE": 0.95},
    ),
    Target(
        "time: symplectic_stages to the faster row of diffrax",
        "time",
        "symplectic_stages",
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {},
    ),
    Target(
        "memory: symplectic to torchdiffeq, autograd",
        "memory",
        "symplectic",
        (f"torchdiffeq{AUTOGRAD}",),
        {"toy": 0.08, "GAS": 0.06, "MINIBOONE": 0.08},
    ),
    Target(
        f"time: symplectic to the {PRODUCTS.label} alone",
        "time",
        "symplectic",
        (PRODUCTS.label,),
        {"MINIBOONE": 1.3},
    ),
    Target(
        f"time: symplectic_stages to the {PRODUCTS.label} alone",
        "time",
        "symplectic_stages",
        (PRODUCTS.label,),
        {"MINIBOONE": 1.3},
    ),
    Target(
        "time: symplectic_stages to symplectic",
        "time",
        "symplectic_stages",
        ("symplectic",),
        {"MINIBOONE": 0.85},
    ),
)


def report(results: Results) -> Drawn:
    """A table of each problem, the ratios, and the figure."""
    runs = results.runs
    problems = [name for name in TITLES if (runs["data.name"] == name).any()]
    sheets = [
        Sheet(
            name.lower(),
            table_of(where(runs, runs["data.name"] == name)),
            TITLES[name],
            [*NOTES, NOTE_DOPRI8 if name == "KdV" else NOTE_PRODUCTS],
            mark_best=False,
        )
        for name in problems
    ]
    title = "Ratios, and in brackets the most that was aimed at"
    sheets.append(Sheet("ratios", ratios(runs, problems), title, mark_best=False))
    sheets.append(Sheet("profile", profile(runs, problems), "Where the time goes", [NOTE_PROFILE]))
    return Drawn(sheets, {"peers": figure_of(runs, problems)})


def order() -> list[str]:
    """The rows, symadj's first, and of these the symplectic method's."""
    own = sorted([*GRADS, *ROWS], key=lambda label: not label.startswith("symplectic"))
    return [*own, *(peer.label for peer in VARIANTS), PRODUCTS.label]


def shown(label: str) -> str:
    """A row's label: the derivative in a field is not always a trace."""
    return label.replace(AUTOGRAD, ", autograd")


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Time, memory, exactness and counts of every row of a problem."""
    table = pivot(runs, ["grad"], [], CELLS, quartiles=True, counts=False)
    table = table.reindex([label for label in order() if label in table.index])
    table.index = table.index.map(shown)
    table.index.name = "method"
    return table.rename(columns=HEADERS)


def ratios(runs: pd.DataFrame, problems: Sequence[str]) -> pd.DataFrame:
    """The targets with what was measured."""
    rows = {t.text: {name: t.cell(runs, name) for name in problems} for t in TARGETS}
    table = pd.DataFrame(rows).T
    table.index.name = "ratio"
    return table


def profile(runs: pd.DataFrame, problems: Sequence[str]) -> pd.DataFrame:
    """The seconds of symadj's rows by part, in percent of the profiled ones."""
    rows = {}
    for name in problems:
        for label in (*GRADS, *ROWS):
            own = where(runs, (runs["data.name"] == name) & (runs["grad"] == label))
            parts = [_only(own, f"metrics.profile/{part}") for part in PARTS]
            if own.empty or np.isnan(parts).any():
                continue
            rows[f"{name}: {label}"] = {
                "time (s)": f"{_only(own, 'seconds.iteration.median'):.4g}",
                "profiled (s)": f"{sum(parts):.4g}",
                **{
                    f"{part} (%)": f"{100 * value / sum(parts):.0f}"
                    for part, value in zip(PARTS, parts, strict=True)
                },
            }
    table = pd.DataFrame(rows).T
    table.index.name = "row"
    return table


def _only(runs: pd.DataFrame, name: str) -> float:
    """The one value of a column; NaN where there is none."""
    return float(numbers(runs[name]).iloc[0]) if name in runs and len(runs) else float("nan")


def figure_of(runs: pd.DataFrame, problems: Sequence[str]) -> Figure:
    """Points of time (above) and peak memory (below), a column of panels for each problem."""
    labels = [label for label in order() if (runs["grad"] == label).any()]
    figure = new_figure(PAGE_WIDTH, 1.0 + 0.26 * len(labels))
    axes = figure.subplots(2, len(problems), squeeze=False, sharey=True)
    for name, above, below in zip(problems, *axes, strict=True):
        own = where(runs, runs["data.name"] == name)
        draw_points(above, own, labels, "time")
        draw_points(below, own, labels, "memory")
        dress(above, "time (s)", title=name)
        dress(below, "peak memory (MiB)")
    for ax in axes.flat:
        ax.tick_params(axis="y", length=0)
        ax.set_yticks(range(len(labels)), [shown(label) for label in labels])
        ax.set_ylim(len(labels) - 0.5, -0.5)
    return figure


def draw_points(ax: Axes, runs: pd.DataFrame, labels: Sequence[str], name: str) -> None:
    """A quantity of every row: its median, with the quartiles where there are any."""
    quantity = resolve(name, runs)
    values = numbers(quantity.values(runs)).where(runs["status"] == "ok")
    for y, label in enumerate(labels):
        at = column(runs, "grad") == label
        if not at.any():
            continue
        (value,) = values[at]
        if np.isnan(value):
            if failure := runs.loc[at, "failure"].item():
                where_is = ax.get_yaxis_transform()
                ax.text(0.03, y, failure, transform=where_is, fontsize=SMALL_FONT_SIZE, va="center")
            continue
        low, high = (
            (runs.loc[at, key].item() for key in quantity.quartiles)
            if quantity.quartiles
            else (value, value)
        )
        style, own = look(label)
        ax.plot([low, high], [y, y], color=style.color, linewidth=1.2)
        face = style.color if own else "white"
        ax.plot(
            value, y, style.marker, color=style.color, markerfacecolor=face, markersize=5, zorder=3
        )
    scale(ax, values.dropna())


def look(label: str) -> tuple[Style, bool]:
    """The style of a row, and whether it is its own: a variant of a method has a hollow marker."""
    plain = label.replace("_", " ")
    known = [
        name for name in METHOD_STYLE if plain == name or plain.startswith((name + " ", name + ","))
    ]
    if not known:
        return Style("#8C8C8C", "*", "", (0, None)), True
    base = max(known, key=len)
    return METHOD_STYLE[base], plain == base


def scale(ax: Axes, values: pd.Series) -> None:
    """A logarithmic axis with few labels where the values are far apart, else one from 0."""
    if values.empty or values.min() <= 0 or values.max() < 8 * values.min():
        ax.set_xlim(left=0)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        return
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())


EXPERIMENT = Experiment(
    name="peers",
    purpose="symadj beside torchdiffeq and diffrax.",
    presets={"paper": cpu, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
