"""Curves over training: loss and evaluations, a mean per method with a band over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import Style, dress, styles_of
from symadj.report.frames import part, where
from symadj.report.names import evaluations, graph_in_forward, joined, sequence

_POINTS = 400
_HOURS_FROM = 7200.0
_FAILED = "ended early"


@dataclass(frozen=True)
class Band:
    """The curves of one method's runs, put together.

    Attributes:
        x: common to all runs: from where the last begins to where the first ends.
        mean: over the runs.
        std: likewise; zero for a single run.
        n: the number of runs.
        failed: whether all of them ended early, so that the end of the line is no goal.
    """

    x: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    n: int
    failed: bool


def loss_curves(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    x: str = "iteration",
    by: Sequence[str] = ("grad",),
    panels: Sequence[str] = ("data",),
) -> Figure:
    """Training loss against the iteration, or against wall-clock time.

    Each run is smoothed by a running median over a fiftieth of its length. A line is the mean over
    the runs of a method that succeeded, its band one standard deviation to either side; where all
    of them failed it is drawn as far as they got and ends in a cross.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        histories: as `symadj.report.load.load_histories` gives it.
        x: "iteration" or "wall".
        by: names whose values are the lines.
        panels: names whose values are the panels.
    """
    return _curves(runs, histories, x, "loss", "training loss", by, panels)


def evaluation_curves(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    by: Sequence[str] = ("grad",),
    panels: Sequence[str] = ("data",),
) -> Figure:
    """Evaluations of the field per iteration, forward and backward together, over training.

    Args:
        runs, histories, by, panels: as for `loss_curves`.
    """
    inside = dict(zip(runs["path"], graph_in_forward(runs), strict=True))
    total = evaluations(histories, histories["path"].map(inside).astype(bool))
    counted = histories.assign(evaluations=total)
    label = "evaluations per iteration"
    return _curves(runs, counted, "iteration", "evaluations", label, by, panels)


def band(curves: Sequence[pd.DataFrame], x: str, y: str, failed: bool) -> Band | None:
    """Mean and standard deviation over curves, on the part of the axis that all of them have.

    Args:
        curves: the histories, one per run.
        x, y: columns.
        failed: whether the runs ended early.

    Returns:
        None where no curve has a finite point, or where no part of the axis is common.
    """
    smooth = [curve for raw in curves if len(curve := _smooth(raw, x, y))]
    if not smooth:
        return None
    low = max(curve[x].iloc[0] for curve in smooth)
    high = min(curve[x].iloc[-1] for curve in smooth)
    if low > high:
        return None
    at = np.linspace(low, high, _POINTS if high > low else 1)
    values = np.stack([np.interp(at, curve[x], curve[y]) for curve in smooth])
    std = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros_like(at)
    return Band(at, values.mean(axis=0), std, len(values), failed)


def _smooth(history: pd.DataFrame, x: str, y: str) -> pd.DataFrame:
    curve = part(history, [x, y]).replace([np.inf, -np.inf], np.nan).dropna().sort_values(x)
    window = max(1, len(curve) // 50)
    return curve.assign(**{y: curve[y].rolling(window, center=True, min_periods=1).median()})


def _curves(
    runs: pd.DataFrame,
    histories: pd.DataFrame,
    x: str,
    y: str,
    ylabel: str,
    by: Sequence[str],
    panels: Sequence[str],
) -> Figure:
    runs = where(runs, runs["path"].isin(histories["path"]))
    titles, methods = sequence(runs, panels), sequence(runs, by)
    styles = styles_of(methods)
    figure, axes = panel_grid(titles, height=2.6)
    of = {str(path): frame for path, frame in histories.groupby("path")}
    panel, method = joined(runs, panels), joined(runs, by)
    drawn: list[Band] = []
    for ax, title in zip(axes, titles, strict=True):
        here = {m: where(runs, (panel == title) & (method == m)) for m in methods}
        found = {m: _band_of(own, of, x, y) for m, own in here.items() if len(own)}
        bands = {m: item for m, item in found.items() if item is not None}
        drawn += bands.values()
        _panel(ax, bands, styles, x)
        if bands:
            ax.set_ylim(*(_loss_limits if y == "loss" else _count_limits)(list(bands.values())))
        dress(ax, ax.get_xlabel(), ylabel, title if len(titles) > 1 else "")
    legend_above(figure, axes, methods, _what_bands_are(drawn))
    return figure


def _what_bands_are(drawn: Sequence[Band]) -> str:
    sizes = sorted({item.n for item in drawn if item.n > 1})
    if not sizes:
        return ""
    return f"band: mean ± standard deviation over {' or '.join(map(str, sizes))} runs"


def _band_of(runs: pd.DataFrame, of: dict, x: str, y: str) -> Band | None:
    good = where(runs, runs["status"] == "ok")
    chosen = runs if good.empty else good
    return band([of[path] for path in chosen["path"]], x, y, failed=good.empty)


def _panel(ax: Axes, bands: dict[str, Band], styles: dict[str, Style], x: str) -> None:
    longest = max((b.x[-1] for b in bands.values()), default=0.0)
    hours = x == "wall" and longest > _HOURS_FROM
    scale = 3600.0 if hours else 1.0
    for i, (name, item) in enumerate(bands.items()):
        _line(ax, name, item, styles[name], scale, first_marker=i)
    ax.set_xlabel({"iteration": "iteration"}.get(x, f"wall-clock time ({'h' if hours else 's'})"))


def _line(
    ax: Axes, name: str, item: Band, style: Style, scale: float, *, first_marker: int
) -> None:
    x = item.x / scale
    # Exact methods lie on each other; markers at places of their own show that all are there.
    every = max(1, len(x) // 6)
    ax.plot(
        x,
        item.mean,
        color=style.color,
        linestyle=style.dash,
        linewidth=1.3,
        marker=style.marker,
        markerfacecolor=style.face,
        markersize=3.5,
        markevery=(first_marker * every // 8 % len(x), every),
        label=name,
    )
    if item.n > 1:
        low, high = item.mean - item.std, item.mean + item.std
        ax.fill_between(x, low, high, color=style.color, alpha=0.18, linewidth=0)
    if item.failed:
        ax.plot(x[-1:], item.mean[-1:], "x", color="black", ms=6, mew=1.5, label=_FAILED, zorder=5)


def _count_limits(bands: Sequence[Band]) -> tuple[float, float]:
    """From none to the most."""
    return 0.0, 1.05 * max(float((b.mean + b.std).max()) for b in bands) or 1.0


def _loss_limits(bands: Sequence[Band]) -> tuple[float, float]:
    """Limits for the bulk of the lines: the steep beginning may leave the picture."""
    low = min(float((b.mean - b.std).min()) for b in bands)
    high = max(float(np.quantile(b.mean + b.std, 0.95)) for b in bands)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
