"""Table 1 of the paper, measured: memory and evaluations as functions of N, s, L and M.

    python experiments/table1.py --preset cpu   measure, then write results/table1
    python experiments/table1.py --dry-run      say how long that takes, measure nothing
    python experiments/table1.py --redraw       tables and figure from the saved records

Memory is peak live tensor bytes of one forward and backward pass; nothing here is timed.
"""

from __future__ import annotations

import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness import Drawn, Results, Sheet
from harness.at_once import AtOnce, Groups, Points, main
from symadj import SOLVERS
from symadj.bench.laws import Size, cost
from symadj.figures.panels import legend_above
from symadj.figures.style import PAGE_WIDTH, SMALL_FONT_SIZE, dress, new_figure, style_of
from symadj.report.frames import column, numbers, where

BASE = Size()
SECONDS = 64.0  # about, on one core
S = {name: SOLVERS[name].uses for name in SOLVERS}
FIELDS = {"N": "steps", "s": "solver", "L": "layers", "M": "components"}
AXES: dict[str, list[Any]] = {
    "N": [4, 8, 16, 32, 64, 128],
    "s": ["midpoint", "bosh3", "rk4", "dopri5", "dop853"],
    "L": [1, 2, 4, 8, 16, 32],
    "M": [1, 2, 4, 8],
}
SMALL: dict[str, list[Any]] = {"N": [4, 16], "s": ["midpoint", "rk4"], "L": [1, 4], "M": [1, 2]}
LABELS = {
    "N": "steps N",
    "s": "network uses per step s",
    "L": "hidden layers L",
    "M": "components M",
}
# The exponents of the paper's Table 1 in (N, s, L, M). A sum such as N + s has the exponent of a
# term where that term rules; with checkpoints apart from graphs each column is one product.
GRAPH = {
    "adjoint": (0, 0, 1, 0),
    "backprop": (1, 1, 1, 1),
    "checkpoint": (1, 1, 1, 0),
    "aca": (0, 1, 1, 0),
    "symplectic": (0, 0, 1, 0),
}
CHECKPOINTS = {"aca": (1, 0, 0, 1), "symplectic": (1, 0, 0, 1)}


def measured(axes: dict[str, list[Any]], _: Path) -> Groups:
    """Every gradient method along every axis."""
    return {f"along {axis}": partial(at_values, axis, values) for axis, values in axes.items()}


def at_values(axis: str, values: list[Any]) -> Points:
    """Every gradient method at the values of an axis, everything else at its base."""
    for value in values:
        size = dataclasses.replace(BASE, **{FIELDS[axis]: value})
        yield from ({"axis": axis, **cost(gradient, size)} for gradient in GRAPH)


def notes(_: pd.DataFrame) -> list[str]:
    """What a reader of both tables must know."""
    return [
        f"Base: {BASE.solver} (s={S[BASE.solver]}), N={BASE.steps}, L={BASE.layers} tanh layers of "
        f"width {BASE.width}, M={BASE.components}, batch {BASE.batch} x {BASE.dim}, float32, fixed "
        "steps, on a CPU; peak live tensor bytes (dispatch meter). The paper's table has formulas "
        "and no sizes, so that nothing is reduced.",
        "Every backward pass looks whether the field is still that of the solve, by f(t0, y0), "
        "which it keeps: one state a component. That is no part of the method and is counted "
        "apart: it is not among the checkpoints here. To adjoint it is an evaluation more a "
        "component, M in all; the others compare one that they make anyway.",
    ]


def report(results: Results) -> Drawn:
    """The two tables and the figure."""
    points = results.runs
    sheets = [
        Sheet(
            "memory",
            memory_table(points),
            "Growth of memory: fitted exponent (exponent in the paper's Table 1)",
            [
                "Each exponent is the slope of log bytes against log N, s, L or M over the "
                "measured range. Graph: the peak less returned states and checkpoints. It includes "
                "what does not grow, such as the work space of one layer's pull-back, which lowers "
                "exponents.",
                "Graph per layer: the slope of a linear fit of graph bytes against L, in "
                "activations of one layer (batch x width floats); "
                f"N s = {BASE.steps * S[BASE.solver]}, s = {S[BASE.solver]}. It includes the "
                "layer's parameter gradients.",
            ],
            mark_best=False,
        ),
        Sheet(
            "evaluations",
            evaluation_table(points),
            "Network uses of one forward and backward pass: counted (formula)",
            mark_best=False,
        ),
    ]
    caption = (
        "Peak memory of one forward and backward pass against the number of steps, the network "
        "uses of a step, layers and components, for five gradient methods."
    )
    return Drawn(sheets, {"memory": (memory_figure(points), caption)})


def along(points: pd.DataFrame, axis: str, gradient: str) -> tuple[np.ndarray, pd.DataFrame]:
    """The values of an axis and the points of a method along it."""
    chosen = where(points, (points["axis"] == axis) & (points["gradient"] == gradient))
    values = column(chosen, FIELDS[axis])
    at = values.map(S) if axis == "s" else values
    return np.asarray(at, dtype=float), chosen


def checkpoints(points: pd.DataFrame) -> pd.Series:
    """Bytes of the method's own checkpoints: without f(t0, y0), which the look at the field keeps.

    Backprop looks at nothing.
    """
    state = 4 * BASE.batch * BASE.dim * numbers(column(points, "components"))
    return (numbers(column(points, "checkpoints_bytes")) - state).clip(lower=0.0)


def exponent(points: pd.DataFrame, axis: str, gradient: str, name: str) -> float:
    """The slope of the log of a column against log axis; 0 for a column of zeros."""
    x, chosen = along(points, axis, gradient)
    y = np.asarray(column(chosen, name), dtype=float)
    if not y.any():
        return 0.0
    # Rounded, and no minus zero.
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 2) + 0.0


def memory_table(points: pd.DataFrame) -> pd.DataFrame:
    """Fitted exponents beside those of the paper."""
    points = points.assign(checkpoints_bytes=checkpoints(points))
    rows = {}
    for gradient in GRAPH:
        row = {}
        for part, name, laws in (
            ("graph", "graph_bytes", GRAPH),
            ("checkpoints", "checkpoints_bytes", CHECKPOINTS),
        ):
            for i, axis in enumerate(AXES):
                law = laws.get(gradient)
                fitted = exponent(points, axis, gradient, name)
                row[f"{part} ~ {axis}"] = "–" if law is None else f"{fitted:.2f} ({law[i]})"
        uses = {"backprop": "N s", "checkpoint": "N s", "aca": "s"}.get(gradient, "1")
        row["graph per layer"] = f"{per_layer(points, gradient):.2f} ({uses})"
        rows[gradient] = row
    return named(pd.DataFrame(rows).T)


def per_layer(points: pd.DataFrame, gradient: str) -> float:
    """The slope of a linear fit of graph bytes against L, in activations of one layer."""
    layers, chosen = along(points, "L", gradient)
    slope = np.polyfit(layers, np.asarray(chosen["graph_bytes"], dtype=float), 1)[0]
    return float(slope) / (BASE.batch * BASE.width * 4)


def evaluation_table(points: pd.DataFrame) -> pd.DataFrame:
    """Counted uses at the base size, and whether the formula holds at every point."""
    rows = {}
    for gradient, formulas in evaluation_formulas().items():
        chosen = where(points, points["gradient"] == gradient)
        steps = column(chosen, "steps") * column(chosen, "components")
        uses = steps * column(chosen, "solver").map(S)
        at_base = (chosen["axis"] == "N") & (chosen["steps"] == BASE.steps)
        row = {}
        for name, (text, (per_use, per_step, per_solve)) in formulas.items():
            counted = column(chosen, name)
            expected = per_use * uses + per_step * steps + per_solve * column(chosen, "components")
            holds = bool((counted == expected).all())
            base = int(next(iter(counted[at_base])))
            row[name.replace("_", " ")] = f"{base} ({text}{'' if holds else ', NOT MET'})"
        rows[gradient] = row
    return named(pd.DataFrame(rows).T)


Formula = tuple[str, tuple[int, int, int]]
"""A formula's text, and its factors on N s M, on N M and on M."""


def evaluation_formulas() -> dict[str, dict[str, Formula]]:
    """The uses of each method with fixed steps: N s M forward, and what the backward pass adds."""
    full: Formula = ("NsM", (1, 0, 0))
    recomputed: dict[str, Formula] = {
        "symplectic": ("N(s-1)M", (1, -1, 0)),
        "adjoint": ("M, the look", (0, 0, 1)),
    }
    return {
        gradient: {
            "forward": full,
            "recomputed": recomputed.get(gradient, ("0", (0, 0, 0))),
            "with_graph": full,
            "vjps": full,
        }
        for gradient in GRAPH
    }


def named(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a heading over its rows."""
    table.index.name = "gradient"
    return table


def memory_figure(points: pd.DataFrame) -> Figure:
    """Peak memory against N, s, L and M, one panel each."""
    figure = new_figure(PAGE_WIDTH, 5.0)
    axes = figure.subplots(2, 2, sharey=True)
    for ax, axis in zip(axes.flat, AXES, strict=True):
        x = np.zeros(0)
        for gradient in GRAPH:
            x, chosen = along(points, axis, gradient)
            look = style_of(gradient)
            ax.plot(
                x,
                np.asarray(chosen["peak_bytes"]) / 2**20,
                color=look.color,
                marker=look.marker,
                markerfacecolor=look.face,
                linestyle=look.dash,
                markersize=4,
                linewidth=1.3,
                label=gradient,
            )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks(x, [f"{int(v)}" for v in x])
        ax.tick_params(labelsize=SMALL_FONT_SIZE)
        ax.minorticks_off()
        dress(ax, LABELS[axis], "peak memory (MiB)" if ax in axes[:, 0] else "")
    legend_above(figure, list(axes.flat))
    return figure


EXPERIMENT = AtOnce(
    name="table1",
    purpose="Memory and evaluations as functions of N, s, L and M.",
    presets={name: partial(measured, AXES) for name in ("paper", "cpu")}
    | {"smoke": partial(measured, SMALL)},
    seconds={"paper": SECONDS, "cpu": SECONDS},
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
