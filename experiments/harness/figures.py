"""Figures of several experiments: one line per gradient method, one panel per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import Style, dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import ordered, resolve


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        name: as `symadj.report.names.resolve` takes it.
        label: of the axis.
        log: whether the axis is logarithmic.
        title: above it.
    """

    name: str
    label: str
    log: bool = True
    title: str = ""


def method_lines(
    runs: pd.DataFrame, x: str, xlabel: str, panels: Sequence[Panel], by: str = "grad"
) -> Figure:
    """The mean of every quantity against x, with one standard deviation over seeds as a bar.

    Runs that failed have no point, a quantity that no run has, has no panel.

    Args:
        runs: records, as `Results.runs`.
        x: a numeric column.
        xlabel: its label.
        panels: what is drawn.
        by: whose values are the lines.
    """
    good = where(runs, runs["status"] == "ok")
    panels = [p for p in panels if numbers(resolve(p.name, good).values(good)).notna().any()]
    figure, axes = panel_grid([panel.label for panel in panels], height=2.5)
    names = [name for (name,) in ordered({(str(name),) for name in good[by]})]
    styles = styles_of(names)
    for ax, panel in zip(axes, panels, strict=True):
        values = numbers(resolve(panel.name, good).values(good))
        for name in names:
            own = column(good, by) == name
            draw_line(ax, numbers(column(good, x))[own], values[own], styles[name], name)
        ax.set_xscale("log")
        if panel.log:
            ax.set_yscale("log")
        dress(ax, xlabel, panel.label, panel.title)
    legend_above(figure, axes, names)
    return figure


def draw_line(ax: Axes, x: pd.Series, y: pd.Series, style: Style, label: str) -> None:
    """Means over runs of one x, joined; bars are one standard deviation."""
    groups = y[np.isfinite(y)].groupby(x)
    mean, std = groups.mean(), groups.std().fillna(0.0)
    if mean.empty:
        return
    ax.errorbar(
        list(mean.index),
        list(mean),
        yerr=list(std) if std.any() else None,
        color=style.color,
        marker=style.marker,
        linestyle=style.dash,
        markersize=4,
        linewidth=1.3,
        capsize=2,
        label=label,
    )
