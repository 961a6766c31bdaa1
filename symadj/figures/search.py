"""Pictures of a search: its trials as a DataFrame in, Figures out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from symadj.config.space import Parameter
from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import (
    COLUMN_WIDTH,
    METHOD_STYLE,
    PAGE_WIDTH,
    SMALL_FONT_SIZE,
    dress,
    new_figure,
)

FINISHED = METHOD_STYLE["backprop"].color
PRUNED = METHOD_STYLE["adjoint"].color
FAILED = METHOD_STYLE["symplectic"].color
_COLORS = "viridis"


def search_figures(
    trials: pd.DataFrame,
    space: Sequence[Parameter],
    metric: str,
    maximize: bool = False,
    importance: Mapping[str, float] | None = None,
) -> dict[str, Figure]:
    """All pictures of a search, by the stem of their file's name.

    Args:
        trials: a row each: number, status ("finished", "pruned", "failed", ...), value, and the
            settings under their keys.
        space: what the settings were chosen from.
        metric: what the value is.
        maximize: whether the greatest value is the best.
        importance: of each setting, its share; empty or None: that is not drawn.
    """
    figures = {
        "history": history(trials, metric, maximize),
        "slices": slices(trials, space, metric, maximize),
        "parallel": parallel(trials, space, metric, maximize),
    }
    if importance:
        figures["importance"] = importances(importance, metric)
    return figures


def history(trials: pd.DataFrame, metric: str, maximize: bool = False) -> Figure:
    """The value of every trial, and the best one so far."""
    figure = new_figure(PAGE_WIDTH * 0.7, 2.6)
    ax = figure.subplots()
    finished = trials.loc[trials["status"] == "finished"].sort_values(by="number")
    best = finished["value"].cummax() if maximize else finished["value"].cummin()
    low, high = _window(trials, maximize)
    _draw_trials(ax, trials, trials["number"], (low, high))
    ax.plot(
        [*finished["number"], trials["number"].max()],
        [*best, best.iloc[-1]],
        color="black",
        linewidth=1.2,
        drawstyle="steps-post",
        label="best so far",
        zorder=2,
    )
    dress(ax, "trial", metric_label(metric))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend_above(figure, [ax])
    return figure


def importances(importance: Mapping[str, float], metric: str) -> Figure:
    """The share of every setting, the largest first."""
    ordered = sorted(importance.items(), key=lambda item: item[1])
    figure = new_figure(COLUMN_WIDTH * 1.3, 0.7 + 0.28 * len(ordered))
    ax = figure.subplots()
    bars = ax.barh([key for key, _ in ordered], [share for _, share in ordered], color=FINISHED)
    ax.bar_label(bars, fmt="%.2f", padding=2, fontsize=SMALL_FONT_SIZE)
    dress(ax, f"share of the variance of the trials' ranks by {metric} (fANOVA)")
    ax.set_xlim(0, 1.1)
    ax.grid(axis="y", visible=False)
    return figure


def slices(
    trials: pd.DataFrame, space: Sequence[Parameter], metric: str, maximize: bool = False
) -> Figure:
    """The value against every setting by itself."""
    figure, axes = panel_grid([parameter.key for parameter in space])
    window = _window(trials, maximize)
    for ax, parameter in zip(axes, space, strict=True):
        _draw_trials(ax, trials, _positions(trials, parameter), window)
        dress(ax, parameter.key, metric_label(metric))
        _scale(ax, parameter)
    legend_above(figure, axes)
    return figure


def parallel(
    trials: pd.DataFrame, space: Sequence[Parameter], metric: str, maximize: bool = False
) -> Figure:
    """A line for every trial over all settings to its value; the better, the darker."""
    figure = new_figure(max(COLUMN_WIDTH, min(PAGE_WIDTH, 1.5 * (len(space) + 1))), 3.0)
    ax = figure.subplots()
    low, high = _window(trials, maximize)
    colors = ScalarMappable(Normalize(low, high), f"{_COLORS}_r" if maximize else _COLORS)
    heights = np.array([_heights(trials, parameter) for parameter in space]).T
    for line, status, value in zip(heights, trials["status"], trials["value"], strict=True):
        if status == "finished":
            end = (np.clip(value, low, high) - low) / (high - low or 1.0)
            color = colors.to_rgba(np.clip(value, low, high))
            ax.plot([*range(len(space) + 1)], [*line, end], color=color, linewidth=1.2, zorder=3)
        elif status in _MARKS:
            color, dash = _MARKS[status]
            ax.plot(range(len(space)), line, color=color, linestyle=dash, linewidth=0.7, alpha=0.7)
    for status, (color, dash) in _MARKS.items():
        if (trials["status"] == status).any():
            ax.plot([], [], color=color, linestyle=dash, linewidth=0.9, label=status)
    _axes_of_parallel(ax, space, metric)
    bar = figure.colorbar(colors, ax=ax, pad=0.02, extend=_beyond(trials, (low, high)))
    bar.ax.tick_params(labelsize=SMALL_FONT_SIZE)
    bar.set_label(metric_label(metric), fontsize=SMALL_FONT_SIZE)
    legend_above(figure, [ax])
    return figure


def metric_label(metric: str) -> str:
    """The metric with its unit."""
    name = metric.rpartition("/")[2]
    unit = {"nll": " (nats)", "bits_per_dim": " (bits/dim)"}.get(name, "")
    return f"{metric}{unit}"


_MARKS = {"pruned": (PRUNED, "--"), "failed": (FAILED, ":")}
"""Colour and line of the trials that are no results in full."""


def _window(trials: pd.DataFrame, maximize: bool) -> tuple[float, float]:
    """The values that are shown at their place: all but the worst ones, where those lie far off."""
    values = trials.loc[trials["status"].isin(("finished", "pruned")), "value"].dropna()
    values = values[np.isfinite(values)]
    if values.empty:
        return 0.0, 1.0
    low, median, high = values.min(), values.median(), values.max()
    if maximize:
        return float(max(low, median - 3 * (high - median))), float(high)
    return float(low), float(min(high, median + 3 * (median - low)))


def _beyond(trials: pd.DataFrame, window: tuple[float, float]) -> str:
    values = trials["value"]
    below, above = (values < window[0]).any(), (values > window[1]).any()
    return {(True, True): "both", (True, False): "min", (False, True): "max"}.get(
        (bool(below), bool(above)), "neither"
    )


def _draw_trials(ax: Axes, trials: pd.DataFrame, x: pd.Series, window: tuple[float, float]) -> None:
    """Points of all trials; those beyond the window at its edge, failed ones on the lower edge."""
    low, high = window
    margin = 0.08 * (high - low) or 0.1
    ax.set_ylim(low - 2 * margin, high + 2 * margin)
    for status, color, marker, label in (
        ("finished", FINISHED, "o", "finished"),
        ("pruned", PRUNED, "x", "pruned, at its last validation"),
    ):
        own, y = trials["status"] == status, trials["value"]
        _points(ax, x, y, own & y.between(low, high), color, marker, label)
        above, below = y * 0 + high + margin, y * 0 + low - margin
        _points(ax, x, above, own & (y > high), color, "^", f"{label}, off the scale")
        _points(ax, x, below, own & (y < low), color, "v", f"{label}, off the scale")
    edge = pd.Series(low - 2 * margin, trials.index)
    _points(ax, x, edge, trials["status"] == "failed", FAILED, 2, "failed")


def _points(
    ax: Axes, x: pd.Series, y: pd.Series, where: pd.Series, color: str, marker: Any, label: str
) -> None:
    if where.any():
        ax.scatter(x[where], y[where], s=18, color=color, marker=marker, label=label, zorder=3)


def _positions(trials: pd.DataFrame, parameter: Parameter) -> pd.Series:
    """Where a setting's values are on its axis: choices by their number."""
    values = trials[parameter.key]
    if parameter.choices:
        return values.map({choice: i for i, choice in enumerate(parameter.choices)})
    return values.astype(float)


def _heights(trials: pd.DataFrame, parameter: Parameter) -> np.ndarray:
    """A setting's values as parts of its range."""
    low, high = _scaled_ends(parameter)
    values = _positions(trials, parameter).to_numpy()
    values = np.log10(values) if parameter.log else values
    return (values - low) / (high - low) if high > low else np.full(len(values), 0.5)


def _scaled_ends(parameter: Parameter) -> tuple[float, float]:
    if parameter.choices:
        return 0.0, len(parameter.choices) - 1.0
    ends = np.array([parameter.low, parameter.high], dtype=float)
    low, high = np.log10(ends) if parameter.log else ends
    return float(low), float(high)


def _scale(ax: Axes, parameter: Parameter) -> None:
    if parameter.choices:
        ax.set_xticks(range(len(parameter.choices)), parameter.choices)
        ax.set_xlim(-0.5, len(parameter.choices) - 0.5)
    elif parameter.log:
        ax.set_xscale("log")
    elif parameter.whole:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _axes_of_parallel(ax: Axes, space: Sequence[Parameter], metric: str) -> None:
    """An upright line for every setting and for the value, with its ends or choices written."""
    ax.spines[:].set_visible(False)
    ax.set_yticks([])
    ax.set_ylim(-0.06, 1.06)
    names = [*(parameter.key for parameter in space), metric]
    ax.set_xticks(range(len(names)), names, fontsize=SMALL_FONT_SIZE)
    ax.tick_params(axis="x", length=0)
    for x, parameter in enumerate(space):
        ax.axvline(x, color="black", linewidth=0.8, zorder=2)
        low, high = _scaled_ends(parameter)
        texts = parameter.choices or (f"{parameter.low:g}", f"{parameter.high:g}")
        places = [i / (high - low) if high > low else 0.5 for i in range(len(texts))]
        for text, y in zip(texts, places if parameter.choices else (0.0, 1.0), strict=True):
            ax.annotate(
                text,
                (x, y),
                (3, 2),
                textcoords="offset points",
                fontsize=SMALL_FONT_SIZE,
                zorder=4,
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.5},
            )
    ax.axvline(len(space), color="black", linewidth=0.8, zorder=2)
