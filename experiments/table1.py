"""Table 1 of the paper, measured: memory and evaluations as functions of N, s, L and M.

    python experiments/table1.py            measure, then write results/table1
    python experiments/table1.py --dry-run  say how long that takes, measure nothing
    python experiments/table1.py --redraw   write tables and figure again from the saved records

Memory is peak live tensor bytes of one forward and backward pass; nothing here is timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from symadj import GRADIENTS, SOLVERS
from symadj.bench.laws import Size, cost
from symadj.figures.panels import legend_above
from symadj.figures.style import PAGE_WIDTH, SMALL_FONT_SIZE, dress, new_figure, style_of
from symadj.files import write_text
from symadj.records.environment import environment
from symadj.report.frames import column, where
from symadj.report.write import write_figures, write_table

BASE = Size()
SECONDS = 64  # about, on one core
S = {name: len(SOLVERS[name].solution_stages) for name in SOLVERS}
AXES: dict[str, dict[str, Any]] = {
    "N": {"field": "steps", "values": [4, 8, 16, 32, 64, 128]},
    "s": {"field": "solver", "values": ["midpoint", "bosh3", "rk4", "dopri5", "dop853"]},
    "L": {"field": "layers", "values": [1, 2, 4, 8, 16, 32]},
    "M": {"field": "components", "values": [1, 2, 4, 8]},
}
LABELS = {
    "N": "steps N",
    "s": "network uses per step s",
    "L": "hidden layers L",
    "M": "components M",
}
# The exponents of the paper's Table 1 in (N, s, L, M). A sum such as N + s has the exponent of a
# term where that term rules; with checkpoints apart from graphs each column is one product.
GRAPH = {
    "backprop": (1, 1, 1, 1),
    "checkpoint": (1, 1, 1, 0),
    "aca": (0, 1, 1, 0),
    "adjoint": (0, 0, 1, 0),
    "symplectic": (0, 0, 1, 0),
}
CHECKPOINTS = {"aca": (1, 0, 0, 1), "symplectic": (1, 0, 0, 1)}


def main() -> None:
    """Measures where that is asked for, and writes the tables and the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results/table1"))
    parser.add_argument("--dry-run", action="store_true", help="say how long it takes")
    parser.add_argument("--redraw", action="store_true", help="from the saved records alone")
    args = parser.parse_args()
    path = args.out / "records.json"
    if args.dry_run:
        print(f"# in all about {SECONDS} s ({SECONDS} s); results in {args.out}")
        return
    if not args.redraw:
        torch.set_num_threads(1)
        args.out.mkdir(parents=True, exist_ok=True)
        record = {
            "schema": 1,
            "kind": "laws",
            "environment": environment(torch.device("cpu")),
            "base": dataclasses.asdict(BASE),
            "points": measure_all(),
        }
        write_text(path, json.dumps(record, indent=None, separators=(",", ":")) + "\n")
    record = json.loads(path.read_text(encoding="utf-8"))
    points = pd.DataFrame(record["points"])
    write_all(points, record, args.out)


def measure_all() -> list[dict[str, Any]]:
    """Every gradient method along every axis."""
    points = []
    for axis, spec in AXES.items():
        for value in spec["values"]:
            size = dataclasses.replace(BASE, **{spec["field"]: value})
            for gradient in GRADIENTS:
                points.append({"axis": axis, **cost(gradient, size)})
        print(f"measured along {axis}", flush=True)
    return points


def write_all(points: pd.DataFrame, record: dict[str, Any], out: Path) -> None:
    """The two tables and the figure."""
    torch_version = record["environment"]["torch"]
    base = record["base"]
    setting = (
        f"Base: {base['solver']} (s=4), N={base['steps']}, L={base['layers']} tanh layers of width "
        f"{base['width']}, M={base['components']}, batch {base['batch']} x {base['dim']}, float32, "
        f"torch {torch_version} on a CPU, peak live tensor bytes (dispatch meter)."
    )
    memory = memory_table(points)
    uses = evaluation_table(points)
    write_table(
        memory,
        out,
        "memory",
        title="Growth of memory: fitted exponent (exponent in the paper's Table 1)",
        notes=[
            setting,
            "Each exponent is the slope of log bytes against log N, s, L or M over the measured "
            "range. Graph: the peak less returned states and checkpoints. It includes what does "
            "not grow, such as the work space of one layer's pull-back, which lowers exponents.",
            "Graph per layer: the slope of a linear fit of graph bytes against L, in activations "
            f"of one layer (batch x width floats); N s = {BASE.steps * S[BASE.solver]}, "
            f"s = {S[BASE.solver]}. It includes the layer's parameter gradients.",
        ],
    )
    write_table(
        uses,
        out,
        "evaluations",
        title="Network uses of one forward and backward pass: counted (formula)",
        notes=[setting],
    )
    write_figures({"memory": memory_figure(points)}, out)
    print((out / "memory.md").read_text(encoding="utf-8"))
    print((out / "evaluations.md").read_text(encoding="utf-8"))


def along(points: pd.DataFrame, axis: str, gradient: str) -> tuple[np.ndarray, pd.DataFrame]:
    """The values of an axis and the points of a method along it."""
    chosen = where(points, (points["axis"] == axis) & (points["gradient"] == gradient))
    values = column(chosen, AXES[axis]["field"])
    numbers = values.map(S) if axis == "s" else values
    return np.asarray(numbers, dtype=float), chosen


def exponent(points: pd.DataFrame, axis: str, gradient: str, name: str) -> float:
    """The slope of the log of a column against log axis; 0 for a column of zeros."""
    x, chosen = along(points, axis, gradient)
    y = np.asarray(chosen[name], dtype=float)
    if not y.any():
        return 0.0
    # Rounded, and no minus zero.
    return round(float(np.polyfit(np.log(x), np.log(y), 1)[0]), 2) + 0.0


def memory_table(points: pd.DataFrame) -> pd.DataFrame:
    """Fitted exponents beside those of the paper."""
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
        for name, (text, (per_use, per_step)) in formulas.items():
            counted = column(chosen, name)
            holds = bool((counted == per_use * uses + per_step * steps).all())
            base = int(counted[at_base].iloc[0])
            row[name.replace("_", " ")] = f"{base} ({text}{'' if holds else ', NOT MET'})"
        rows[gradient] = row
    return named(pd.DataFrame(rows).T)


Formula = tuple[str, tuple[int, int]]
"""A formula's text, and its factors on N s M and on N M."""


def evaluation_formulas() -> dict[str, dict[str, Formula]]:
    """The uses of each method with fixed steps: N s M forward, and what the backward pass adds."""
    full: Formula = ("NsM", (1, 0))
    none: Formula = ("0", (0, 0))
    return {
        gradient: {
            "forward": full,
            "recomputed": ("N(s-1)M", (1, -1)) if gradient == "symplectic" else none,
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


if __name__ == "__main__":
    main()
