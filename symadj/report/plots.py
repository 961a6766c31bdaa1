"""The figures of a report: DataFrames in, Figures out, no pyplot state."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from symadj.report.bars import cost_bars
from symadj.report.curves import evaluation_curves, loss_curves
from symadj.report.frames import where
from symadj.report.frontier import frontier
from symadj.report.names import ALIASES

__all__ = ["cost_bars", "evaluation_curves", "frontier", "loss_curves", "report_figures"]


def report_figures(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    by: Sequence[str] = ("grad",),
    panels: Sequence[str] = ("data",),
) -> dict[str, Figure]:
    """All figures that the runs have figures for, by the stem of their file's name.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        histories: as `symadj.report.load.load_histories` gives it.
        by: names whose values are the bars, lines and points.
        panels: names whose values are the panels.
    """
    good = where(runs, runs["status"] == "ok")
    measured = [name for name in ("memory", "time") if ALIASES[name].values(good).notna().any()]
    figures: dict[str, Figure] = {}
    if measured:
        figures["memory_time"] = cost_bars(runs, by, panels, measured)
    if (ALIASES["memory"].values(good).notna() & ALIASES["time"].values(good).notna()).any():
        figures["frontier"] = frontier(runs, by, panels)
    if len(histories):
        figures["loss_iteration"] = loss_curves(runs, histories, "iteration", by, panels)
        figures["loss_time"] = loss_curves(runs, histories, "wall", by, panels)
        figures["evaluations"] = evaluation_curves(runs, histories, by, panels)
    return figures
