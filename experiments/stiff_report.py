"""Stiff solves and their gradients: tables, and diagrams of work over precision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness.results import Sheet
from stiff_problems import PROBLEMS
from stiff_solves import EXACT, EXPLICIT, GRADIENTS, IMPLICIT, MAX_STEPS, SCIPY
from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import Style, dress
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING
from symadj.units import format_bytes

ROWS = (*EXPLICIT, *IMPLICIT, *(f"SciPy {name}" for name in SCIPY), "diffrax Kvaerno5")
DRAWN: dict[str, Style] = {
    "dopri5": Style("#8C8C8C", "s", "", (0, (1.2, 1.2))),
    "tsit5": Style("#8C8C8C", "D", "", (0, (5, 1.5)), hollow=True),
    "trbdf2": Style("#E69F00", "v", "", (0, (5, 1.5))),
    "kvaerno3": Style("#009E73", "^", "", (0, (3, 1, 1, 1))),
    "kvaerno5": Style("#C03A00", "o", "", (0, None)),
    "radau5": Style("#0072B2", "p", "", (0, None)),
    "SciPy Radau": Style("#56B4E9", "P", "", (0, (7, 2)), hollow=True),
    "SciPy BDF": Style("#CC79A7", "X", "", (0, (2, 2)), hollow=True),
    "diffrax Kvaerno5": Style("#1A1A1A", "h", "", (0, (6, 1.5, 1, 1.5)), hollow=True),
}
WORK = {"evaluations": "evaluations of f", "seconds": "time (s)"}
SHOWN_AT = 1e-6
COUNTS = {
    "accepted": "steps",
    "rejected": "rejected",
    "evaluations": "evaluations",
    "newton_iterations": "Newton iterations",
    "jacobians": "Jacobians",
    "factorisations": "factorisations",
    "linear_products": "products",
}


def titles() -> dict[str, str]:
    """By the names of problems."""
    return {name: make().title for name, make in PROBLEMS.items()}


def solutions(points: pd.DataFrame) -> pd.DataFrame:
    """A row for every problem and method at `SHOWN_AT`: error, seconds and counts."""
    rows = {}
    for name, title in titles().items():
        for row in ROWS:
            own = where(points, (points["problem"] == name) & (points["row"] == row))
            at = where(own, own["tolerance"] == SHOWN_AT)
            if own.empty:
                continue
            failed = where(own, own["status"] != "ok")
            if at.empty or len(where(at, at["status"] != "ok")):
                first = failed.iloc[0]
                rows[title, row] = {"error": f"{first['status']} at {first['tolerance']:g}"}
                continue
            point = at.iloc[0]
            rows[title, row] = {
                "error": f"{point['error']:.2g}",
                "time (s)": f"{point['seconds']:.3g}",
                **{
                    words: f"{point[key]:.0f}"
                    for key, words in COUNTS.items()
                    if key in point and np.isfinite(point[key])
                },
            }
    table = pd.DataFrame(rows, dtype=object).T
    table = table.reindex(columns=["error", "time (s)", *COUNTS.values()])
    table.index = table.index.set_names(["problem", "method"])
    return table.dropna(axis=1, how="all").fillna(MISSING)


def gradients(points: pd.DataFrame) -> pd.DataFrame:
    """A row for every problem, solver and gradient method: memory, time, error."""
    rows = {}
    for name, title in titles().items():
        own = where(points, points["problem"] == name)
        for method in dict.fromkeys(own["method"]):
            for grad in GRADIENTS:
                found = where(own, (own["method"] == method) & (own["row"] == grad))
                if found.empty:
                    continue
                point = found.iloc[0]
                rows[title, method, grad] = (
                    {
                        "peak memory": format_bytes(int(point["peak_bytes"])),
                        "time (s)": f"{point['seconds']:.3g}",
                        "error against backprop": f"{point['error']:.2g}",
                    }
                    if point["status"] == "ok"
                    else {"peak memory": str(point["status"])}
                )
    table = pd.DataFrame(rows, dtype=object).T.fillna(MISSING)
    table.index = table.index.set_names(["problem", "solver", "gradient"])
    return table


def sheets(points: pd.DataFrame) -> list[Sheet]:
    """Of solves and of gradients."""
    forward, backward = (where(points, points["part"] == p) for p in ("solve", "gradient"))
    how = (
        "Error: the largest over the outputs of the root mean square of |y - reference| / "
        "(|reference| + scale), the reference being SciPy's Radau at rtol 1e-10. Tolerances: rtol "
        "as told, atol = scale rtol. Scales: "
        + ", ".join(f"{make().title} {make().scale:g}" for make in PROBLEMS.values())
        + f". A solve is given up after {MAX_STEPS:,} attempted steps."
    )
    counted = (
        "Evaluations: of f for the whole state, Jacobians left out with symadj, whose Jacobians "
        "come from derivatives of f (d products each); with SciPy, which takes differences, "
        "included. diffrax does not count them. Seconds of diffrax are those of compiled code; its "
        "newest release, 0.7.2, rejects steps whose equations two iterations do not solve (mended "
        "after it: patrick-kidger/diffrax, pull request 754)."
    )
    made = [
        Sheet(
            "solutions",
            solutions(forward),
            f"Stiff solves at rtol {SHOWN_AT:g}",
            [how, counted],
            mark_best=False,
        )
    ]
    if len(backward):
        told = (
            "A loss of all outputs and its gradient with respect to the problem's parameters, "
            f"rtol {SHOWN_AT:g}: seconds, peak of live bytes, and the relative difference to "
            "backpropagation through the same solve, the equations of whose steps are solved to "
            f"newton_tol={EXACT:g}. adjoint: the continuous adjoint method, "
            "solved by the same method at the same tolerances."
        )
        made.append(Sheet("gradients", gradients(backward), "Gradients", [told], mark_best=False))
    return made


def work_precision(points: pd.DataFrame, work: str) -> Figure:
    """Evaluations or seconds over the error: a panel for each problem, a point per tolerance."""
    own = where(points, (points["part"] == "solve") & (points["status"] == "ok"))
    shown = {name: title for name, title in titles().items() if (own["problem"] == name).any()}
    figure, axes = panel_grid(list(shown.values()), height=2.1)
    for ax, (name, title) in zip(axes, shown.items(), strict=True):
        for row, style in DRAWN.items():
            line = where(own, (own["problem"] == name) & (own["row"] == row))
            x, y = (list(numbers(column(line, key))) for key in ("error", work))
            if not np.isfinite(y).any():
                continue
            ax.plot(
                x,
                y,
                color=style.color,
                marker=style.marker,
                markerfacecolor=style.face,
                linestyle=style.dash,
                markersize=3.5,
                linewidth=1.0,
                label=row,
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        dress(ax, "error of the solution", WORK[work], title)
    legend_above(figure, axes, ROWS)
    return figure


def verdicts(points: pd.DataFrame) -> Sequence[str]:
    """What explicit methods do on every problem, in a sentence each."""
    own = where(points, (points["part"] == "solve") & points["row"].isin(list(EXPLICIT)))
    told = []
    for name, title in titles().items():
        here = where(own, own["problem"] == name)
        if here.empty:
            continue
        good = where(here, here["status"] == "ok")
        told.append(
            f"{title}: explicit methods end in {good['accepted'].min():,.0f} to "
            f"{good['accepted'].max():,.0f} steps"
            if len(good)
            else f"{title}: no explicit method ends in {MAX_STEPS:,} steps"
        )
    return [f"{'; '.join(told)}."] if told else []
