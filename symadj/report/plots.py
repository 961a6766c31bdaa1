"""The figures of a report: DataFrames in, Figures out, no pyplot state."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from symadj.figures.physics import errors_over_time
from symadj.report.bars import cost_bars
from symadj.report.curves import evaluation_curves, loss_curves
from symadj.report.frames import column, where
from symadj.report.frontier import frontier
from symadj.report.names import ALIASES, joined, sequence

__all__ = ["cost_bars", "evaluation_curves", "frontier", "loss_curves", "report_figures"]


def report_figures(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    by: Sequence[str] = ("grad",),
    panels: Sequence[str] = ("data",),
    rollouts: pd.DataFrame | None = None,
) -> dict[str, Figure]:
    """All figures that the runs have figures for, by the stem of their file's name.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        histories: as `symadj.report.load.load_histories` gives it.
        by: names whose values are the bars, lines and points.
        panels: names whose values are the panels.
        rollouts: as `symadj.report.load.load_rollouts` gives it; None: there are none.
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
    if rollouts is not None and len(rollouts):
        figures |= rollout_curves(good, rollouts, by, panels)
    return figures


def rollout_curves(
    runs: pd.DataFrame, rollouts: pd.DataFrame, by: Sequence[str], panels: Sequence[str]
) -> dict[str, Figure]:
    """Errors of roll-outs over prediction time, a figure for each data set: they differ in units.

    Args:
        runs, rollouts, by: as for `report_figures`.
        panels: names whose values are the figures.

    Returns:
        "rollout", or "rollout_NAME" for each of several.
    """
    runs = where(runs, runs["path"].isin(rollouts["path"]))
    of = {str(path): table for path, table in rollouts.groupby("path")}
    titles, figure, line = sequence(runs, panels), joined(runs, panels), joined(runs, by)
    drawn = {}
    for title in titles:
        here = {
            name: [of[path] for path in runs["path"][(figure == title) & (line == name)]]
            for name in sequence(runs, by)
        }
        tables = {name: found for name, found in here.items() if found}
        known = pd.concat([table for found in tables.values() for table in found])
        shown = [name for name in ("state_mse", "energy_mse") if column(known, name).notna().any()]
        stem = re.sub(r"[^A-Za-z0-9]+", "_", title).strip("_") if len(titles) > 1 else ""
        drawn["_".join(filter(None, ("rollout", stem)))] = errors_over_time(
            tables, shown, title=title
        )
    return drawn
