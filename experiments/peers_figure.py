"""The figure of `peers.py`: time and memory of every row of every problem."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from symadj.bench.cases import AUTOGRAD_TRACE
from symadj.figures.style import PAGE_WIDTH, SMALL_FONT_SIZE, dress, new_figure, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import resolve


def shown(label: str) -> str:
    """A row's label: the derivative in a field is not always a trace."""
    return label.replace(AUTOGRAD_TRACE, ", autograd")


def figure_of(
    runs: pd.DataFrame, problems: Sequence[str], order: Sequence[str], across: int
) -> Figure:
    """Points of time (above) and peak memory (below), a column of panels for each problem.

    Args:
        runs: the records.
        problems: that are shown.
        order: of the labels of the rows; those that no problem has are left out.
        across: problems side by side; further ones come below.
    """
    shown_runs = where(runs, runs["data.name"].isin(problems))
    labels = [label for label in order if (shown_runs["grad"] == label).any()]
    blocks = ceil(len(problems) / across)
    figure = new_figure(PAGE_WIDTH, blocks * (1.0 + 0.26 * len(labels)))
    columns = min(across, len(problems))
    axes = figure.subplots(2 * blocks, columns, squeeze=False, sharey=True)
    for ax in axes[-2:, len(problems) - columns * (blocks - 1) :].flat:
        ax.set_visible(False)
    for number, name in enumerate(problems):
        block, across_at = divmod(number, columns)
        above, below = axes[2 * block : 2 * block + 2, across_at]
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
    styles = styles_of(labels)
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
        style = styles[label]
        ax.plot([low, high], [y, y], color=style.color, linewidth=1.2)
        ax.plot(
            value,
            y,
            style.marker,
            color=style.color,
            markerfacecolor=style.face,
            markersize=5,
            zorder=3,
        )
    scale(ax, values.dropna())


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
