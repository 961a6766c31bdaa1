"""Figures of several experiments: one line per gradient method, one panel per quantity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from harness.paired import differences, interval
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import SMALL_FONT_SIZE, Style, dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import ordered, resolve


@dataclass(frozen=True)
class Level:
    """A value that lines are compared with, such as that of the truth.

    Attributes:
        value: in the units of the panel.
        label: what it is, written at the line.
    """

    value: float
    label: str


@dataclass(frozen=True)
class Panel:
    """One quantity.

    Attributes:
        name: as `symadj.report.names.resolve` takes it.
        label: of the axis.
        log: whether the axis is logarithmic where the values differ by a factor of eight or more;
            that of differences is then linear around 0 and logarithmic beyond.
        title: above it.
        relative_to: a method whose value at the same seed (and x) is taken from that of every
            other one; empty: values as they are.
        ratio: whether the values are divided by the method's instead; the axis is logarithmic
            where they differ by a factor of eight or more.
        levels: horizontal lines.
    """

    name: str
    label: str
    log: bool = True
    title: str = ""
    relative_to: str = ""
    ratio: bool = False
    levels: Sequence[Level] = ()


def method_lines(
    runs: pd.DataFrame,
    x: str,
    xlabel: str,
    panels: Sequence[Panel],
    by: str = "grad",
    pairs: Sequence[str] = ("seed",),
) -> Figure:
    """The mean of every quantity against x, with one standard deviation over seeds as a bar.

    Of differences and ratios at the same seed it is the mean (geometric, of ratios) with its
    bootstrap interval (95 %) as a bar. Runs that failed have no point; a quantity that no run has,
    has no panel.

    Args:
        runs: records, as `Results.runs`.
        x: a numeric column.
        xlabel: its label.
        panels: what is drawn.
        by: whose values are the lines.
        pairs: the columns besides x in which paired runs agree.
    """
    good = where(runs, runs["status"] == "ok")
    panels = [p for p in panels if numbers(resolve(p.name, good).values(good)).notna().any()]
    figure, axes = panel_grid([panel.label for panel in panels], height=2.5)
    names = [name for (name,) in ordered({(str(name),) for name in good[by]})]
    styles = styles_of(names)
    for ax, panel in zip(axes, panels, strict=True):
        values = numbers(resolve(panel.name, good).values(good))
        if panel.relative_to:
            _draw_relative(ax, good.assign(_y=values), x, panel, by, pairs, styles)
        else:
            for name in names:
                own = where(good.assign(_y=values), column(good, by) == name)
                draw_line(
                    ax, numbers(column(own, x)), numbers(column(own, "_y")), styles[name], name
                )
            if panel.log:
                log_if_wide(ax, "y", values[values > 0])
        for level in panel.levels:
            draw_level(ax, level)
        log_if_wide(ax, "x", numbers(column(good, x)))
        dress(ax, xlabel, panel.label, panel.title)
    legend_above(figure, axes, names)
    return figure


def draw_line(ax: Axes, x: pd.Series, y: pd.Series, style: Style, label: str) -> None:
    """Means over runs of one x, joined; bars are one standard deviation."""
    groups = pd.Series(y[np.isfinite(y)]).groupby(x)
    mean, std = pd.Series(groups.mean()), pd.Series(groups.std()).fillna(0.0)
    bars = np.stack([std, std]) if std.any() else None
    draw_points(ax, np.asarray(mean.index), np.asarray(mean), bars, style, label)


def draw_paired(
    ax: Axes,
    x: Sequence[float],
    samples: Sequence[Sequence[float]],
    style: Style,
    label: str,
    ratio: bool = False,
) -> list[float]:
    """Means of the samples at each x, joined; bars are their bootstrap intervals (95 %).

    Args:
        ax: where.
        x: n values.
        samples: n samples, such as differences over seeds; values that are not finite are left
            out, and an empty sample has no point.
        style: of the method.
        label: of the line.
        ratio: whether samples are logarithms of ratios, which are drawn as ratios: their geometric
            mean and its interval.

    Returns:
        What was drawn.
    """
    told = [(at, np.asarray(own, dtype=float)) for at, own in zip(x, samples, strict=True)]
    kept = [(at, own[np.isfinite(own)]) for at, own in told if np.isfinite(own).any()]
    # A single value has no interval.
    drawn = [(own.mean(), *np.nan_to_num(interval(list(own)), nan=own.mean())) for _, own in kept]
    means, low, high = np.array(drawn).reshape(-1, 3).T
    if ratio:
        means, low, high = np.exp(means), np.exp(low), np.exp(high)
    bars = np.maximum(np.stack([means - low, high - means]), 0.0)
    at = np.array([at for at, _ in kept])
    draw_points(ax, at, means, bars if bars.any() else None, style, label)
    return list(means)


def draw_level(ax: Axes, level: Level) -> None:
    """A horizontal line with its name at the right end."""
    ax.axhline(level.value, color="0.35", linewidth=0.9, linestyle=(0, (5, 2)), zorder=1)
    ax.annotate(
        level.label,
        (1.0, level.value),
        (-2, 2),
        xycoords=ax.get_yaxis_transform(),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL_FONT_SIZE,
        color="0.25",
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )


def _draw_relative(
    ax: Axes,
    runs: pd.DataFrame,
    x: str,
    panel: Panel,
    by: str,
    pairs: Sequence[str],
    styles: dict[str, Style],
) -> None:
    """Lines of differences or ratios, and a level for the method itself."""
    if panel.ratio:
        runs = runs.assign(_y=np.log(runs["_y"].where(runs["_y"] > 0)))
    found = differences(runs, "_y", panel.relative_to, by, [*pairs, x])
    groups = [(float(str(at)), own) for at, own in found.groupby(level=x)]
    drawn: list[float] = []
    for name in styles:
        if name in found and name != panel.relative_to:
            samples = [list(own[name]) for _, own in groups]
            xs = [at for at, _ in groups]
            drawn += draw_paired(ax, xs, samples, styles[name], name, panel.ratio)
    draw_level(ax, Level(float(panel.ratio), panel.relative_to))
    sizes = np.abs([value for value in drawn if value])
    if panel.ratio:
        log_if_wide(ax, "y", drawn)
    elif panel.log and sizes.size:
        ax.set_yscale("symlog", linthresh=float(sizes.min()))


def draw_points(
    ax: Axes, x: np.ndarray, y: np.ndarray, bars: np.ndarray | None, style: Style, label: str
) -> None:
    """Points that a line joins; bars [n] either way or [2, n] below and above, where given."""
    if not len(x):
        return
    ax.errorbar(
        x,
        y,
        yerr=bars,
        color=style.color,
        marker=style.marker,
        markerfacecolor=style.face,
        linestyle=style.dash,
        markersize=4,
        linewidth=1.3,
        capsize=2,
        label=label,
    )
