"""Figures of roll-outs beside the truth: space-time maps, phase portraits, what is conserved."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from symadj.figures.panels import legend_above
from symadj.figures.style import (
    COLUMN_WIDTH,
    FONT_SIZE,
    PAGE_WIDTH,
    SMALL_FONT_SIZE,
    Dash,
    Style,
    dress,
    new_figure,
    styles_of,
)

Array = NDArray[np.floating]
Units = Mapping[str, str]

TRUTH, PREDICTION = "#1A1A1A", "#C03A00"
SEVERAL = ("#0072B2", "#C03A00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
DASHES = (0, (4, 1.5))
PALE = 0.45
SQUARE_UP_TO = 4.0
ROUNDING = 1e-9
MISSING = "#BDBDBD"
NAMES = {"t": "time t", "x": "position x", "angular_momentum": "angular momentum"}
ERRORS = {"state_mse": "state", "energy_mse": "energy", "mass_mse": "mass"}
BASELINES: dict[str, tuple[str, Dash]] = {
    "persistence": ("nothing moves (persistence)", (0, (6, 2))),
    "linear": ("linear model", (0, (1, 1.5))),
    "true_field": ("the true field, same solver", (0, (6, 1.5, 1, 1.5))),
}
GREY = "#7F7F7F"
FAR = 1e4


def space_time(
    t: Array, x: Array, truth: Array, predicted: Array, units: Units | None = None, title: str = ""
) -> Figure:
    """Truth and prediction on one colour scale, and their difference, over time and space.

    The truth sets the scale: where a prediction leaves it, the bar's arrow says so. What could not
    be predicted is grey.

    Args:
        t: [T].
        x: [M].
        truth: [T, M].
        predicted: [T, M], NaN where there is none.
        units: of "t", "x" and "u".
        title: name of the data.
    """
    figure = new_figure(PAGE_WIDTH, 2.5)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    low, high, colours = _scale(truth)
    extent = (*_edges(t), *_edges(x))
    panels = ((left, truth, "truth"), (middle, predicted, "prediction"))
    image = None
    for ax, values, name in panels:
        image = _map(ax, values, extent, low, high, colours)
        _name_map(ax, f"{title}: {name}" if title else name, units)
    assert image is not None
    bar = figure.colorbar(image, ax=[left, middle], extend=_extend(predicted, low, high), pad=0.02)
    _dress_bar(bar.ax, _label("u", units))
    difference = predicted - truth
    bound = _bound(difference) or 1.0
    image = _map(right, difference, extent, -bound, bound, _colours("RdBu_r"))
    _name_map(right, "prediction - truth", units)
    bar = figure.colorbar(image, ax=right, pad=0.04)
    _dress_bar(bar.ax, _label("difference", {"difference": (units or {}).get("u", "")}))
    left.set_ylabel(_label("x", units), fontsize=FONT_SIZE)
    return figure


def invariants(
    t: Array, kept: Mapping[str, tuple[Array, Array]], units: Units | None = None, title: str = ""
) -> Figure:
    """Energy, mass and the like over time, of the truth and of the prediction.

    Args:
        t: [T].
        kept: name -> (truth, prediction), each [n, T]; one line for every trajectory.
        units: of "t" and of the names.
        title: name of the data.
    """
    figure = new_figure(COLUMN_WIDTH * 1.3, 0.6 + 1.6 * len(kept))
    axes = figure.subplots(len(kept), 1, sharex=True, squeeze=False)[:, 0]
    for ax, (name, (truth, predicted)) in zip(axes, kept.items(), strict=True):
        _pairs(ax, [(t, true) for true in truth], [(t, ours) for ours in predicted])
        dress(ax, ylabel=_label(name, units))
        _show_truth(ax, truth, predicted)
    dress(axes[-1], xlabel=_label("t", units), ylabel=axes[-1].get_ylabel())
    axes[0].set_title(title, fontsize=FONT_SIZE)
    _two_lines(figure, len(next(iter(kept.values()))[0]))
    return figure


def phase_portraits(
    truth: Array,
    predicted: Array,
    pairs: Sequence[tuple[int, int]],
    columns: Sequence[str] = (),
    units: Units | None = None,
    title: str = "",
) -> Figure:
    """Orbits of the truth and of the prediction, in a plane of two entries of the state each.

    Args:
        truth: [n, T, dim].
        predicted: [n, T, dim], NaN where there is none.
        pairs: the entries of every panel.
        columns: the entries' names.
        units: of the columns.
        title: name of the data.
    """
    figure = new_figure(COLUMN_WIDTH * len(pairs), 3.1)
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    names = columns or [f"u{i + 1}" for i in range(truth.shape[-1])]
    for ax, (i, j) in zip(axes, pairs, strict=True):
        true, ours = truth[..., [i, j]], predicted[..., [i, j]]
        _pairs(ax, [orbit.T for orbit in true], [orbit.T for orbit in ours])
        ax.plot(true[:, 0, 0], true[:, 0, 1], "o", color=TRUTH, markersize=3)
        dress(ax, _with_unit(names[i], units), _with_unit(names[j], units), title)
        ax.locator_params(nbins=5)
        wide, high = _limit(ax.set_xlim, true[..., 0]), _limit(ax.set_ylim, true[..., 1])
        alike = (units or {}).get(names[i]) == (units or {}).get(names[j])
        if alike and max(wide, high) < SQUARE_UP_TO * min(wide, high):
            ax.set_aspect("equal")
    start = Line2D([], [], color=TRUTH, marker="o", markersize=3, linestyle="", label="start")
    _two_lines(figure, len(truth), start)
    return figure


def time_series(t: Array, truth: Array, predicted: Array, title: str = "") -> Figure:
    """A state of one entry over time: [n, T, 1] of the truth and of the prediction."""
    figure = new_figure(COLUMN_WIDTH * 1.3, 2.4)
    ax = figure.subplots()
    _pairs(ax, [(t, true) for true in truth[..., 0]], [(t, ours) for ours in predicted[..., 0]])
    dress(ax, NAMES["t"], "u", title)
    _limit(ax.set_ylim, truth)
    _two_lines(figure, len(truth))
    return figure


def errors_over_time(
    errors: Mapping[str, Sequence[pd.DataFrame]],
    quantities: Sequence[str] = ("state_mse", "energy_mse"),
    units: Units | None = None,
    title: str = "",
) -> Figure:
    """Mean squared errors of roll-outs against prediction time, a line per gradient method.

    The line is the median over the runs of a method, its band reaches from the least to the largest
    one. A run none of whose roll-outs got further ends there: the median is over the others from
    then on. Exact methods lie on each other: every line has markers at places of its own, and the
    first are wider. Baselines that the tables have are grey, the median over all runs;
    where they are far from all methods they leave the panel.

    Args:
        errors: method -> one table per run, as `symadj.tasks.rollout.errors_over_time` makes it.
        quantities: columns of the tables, a panel each.
        units: of "t", and of what the errors are squares of: "state", "energy", "mass".
        title: name of the data.
    """
    figure = new_figure(COLUMN_WIDTH * len(quantities), 2.7)
    axes = figure.subplots(1, len(quantities), squeeze=False)[0]
    styles = styles_of(errors)
    for ax, quantity in zip(axes, quantities, strict=True):
        runs = {name: _later(tables, quantity) for name, tables in errors.items()}
        for place, (name, own) in enumerate(runs.items()):
            _method(ax, name, own, styles[name], (place, len(errors)))
        _baselines(ax, [table for tables in errors.values() for table in tables], quantity)
        what = ERRORS.get(quantity, quantity)
        unit = (units or {}).get(what)
        squared = f"({unit})$^2$" if unit and " " in unit else f"{unit}$^2$"
        label = f"mean squared error of the {what}" + (f" [{squared}]" if unit else "")
        ax.set_yscale("log")
        _around(ax, runs.values())
        dress(ax, "prediction " + _label("t", units), label, title)
    most = max((len(tables) for tables in errors.values()), default=0)
    band = f"line: median, band: least to largest of {most} runs" if most > 1 else ""
    legend_above(figure, axes, list(errors), band)
    return figure


def _later(tables: Sequence[pd.DataFrame], quantity: str, baseline: str = "") -> pd.DataFrame:
    """A quantity after the start, a column per run; nothing where no roll-out got so far."""
    found = []
    for table in tables:
        values = table[f"{quantity}{baseline}"]
        if (reached := f"reached{baseline}") in table:
            values = values.where(table[reached] > 0)
        found.append(values.set_axis(table["t"]))
    runs = pd.concat(found, axis=1).iloc[1:]
    return runs.where(runs > 0)


def _baselines(ax: Axes, tables: Sequence[pd.DataFrame], quantity: str) -> None:
    for name, (label, dash) in BASELINES.items():
        if known := [table for table in tables if f"{quantity}_{name}" in table]:
            values = _later(known, quantity, f"_{name}").median(axis=1)
            ax.plot(values.index, values, color=GREY, linestyle=dash, linewidth=1.2, label=label)


def _around(ax: Axes, runs: Iterable[pd.DataFrame]) -> None:
    """Bounds a logarithmic axis to `FAR` times what is drawn of the methods, either way."""
    values = np.concatenate([np.empty(0), *(own.to_numpy().ravel() for own in runs)])
    values = values[np.isfinite(values)]
    if values.size:
        low, high = ax.get_ylim()
        ax.set_ylim(max(low, values.min() / FAR), min(high, values.max() * FAR))


def _method(ax: Axes, name: str, runs: pd.DataFrame, style: Style, place: tuple[int, int]) -> None:
    """The line and band of a method, the `place`-th of so many."""
    number, methods = place
    every = max(1, len(runs) // 6)
    ax.plot(
        runs.index,
        runs.median(axis=1),
        color=style.color,
        linestyle=style.dash,
        linewidth=1.2 + 0.5 * (methods - 1 - number),
        marker=style.marker,
        markerfacecolor=style.face,
        markersize=4,
        markevery=(number * every // methods, every),
        label=name,
    )
    if runs.shape[1] > 1:
        low, high = runs.min(axis=1), runs.max(axis=1)
        shade = {"color": style.color, "alpha": 0.25 / methods, "linewidth": 0}
        ax.fill_between(runs.index, low, high, **shade)


def _label(name: str, units: Units | None) -> str:
    """The label of a quantity: time and position are spelt out."""
    return NAMES.get(name, name) + _with_unit(name, units).removeprefix(name)


def _with_unit(name: str, units: Units | None) -> str:
    unit = (units or {}).get(name)
    return f"{name} [{unit}]" if unit else name


def _colours(name: str) -> Colormap:
    return matplotlib.colormaps[name].with_extremes(bad=MISSING)


def _scale(truth: Array) -> tuple[float, float, Colormap]:
    """Limits and colours: diverging around 0 where the truth has both signs."""
    low, high = float(truth.min()), float(truth.max())
    if low < -0.1 * high and high > -0.1 * low:
        bound = max(-low, high)
        return -bound, bound, _colours("RdBu_r")
    return low, high, _colours("viridis")


def _bound(values: Array) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0


def _extend(values: Array, low: float, high: float) -> str:
    with np.errstate(invalid="ignore"):
        below, above = bool((values < low).any()), bool((values > high).any())
    return {(False, False): "neither", (True, True): "both"}.get(
        (below, above), "min" if below else "max"
    )


def _edges(values: Array) -> tuple[float, float]:
    """The outer edges of cells around equally spaced values."""
    half = (values[-1] - values[0]) / (2 * max(1, len(values) - 1))
    return float(values[0] - half), float(values[-1] + half)


def _map(ax: Axes, values: Array, extent, low: float, high: float, colours: Colormap):
    return ax.imshow(
        np.ma.masked_invalid(values.T),
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        cmap=colours,
    )


def _name_map(ax: Axes, title: str, units: Units | None) -> None:
    ax.set_title(title, fontsize=FONT_SIZE)
    ax.set_xlabel(_label("t", units), fontsize=FONT_SIZE)
    ax.tick_params(labelsize=SMALL_FONT_SIZE)


def _dress_bar(ax: Axes, label: str) -> None:
    ax.set_ylabel(label, fontsize=FONT_SIZE)
    ax.tick_params(labelsize=SMALL_FONT_SIZE)
    ax.yaxis.get_offset_text().set_fontsize(SMALL_FONT_SIZE)


def _pairs(ax: Axes, truth: Sequence[Any], predicted: Sequence[Any]) -> None:
    """Lines (x, y) of truth and prediction; each pair in a colour of its own if there are more."""
    single = len(truth) == 1
    for i, (true, ours) in enumerate(zip(truth, predicted, strict=True)):
        colour = SEVERAL[i % len(SEVERAL)]
        first, second = (TRUTH, PREDICTION) if single else (colour, colour)
        ax.plot(*true, color=first, linewidth=1.2 if single else 2.2, alpha=1 if single else PALE)
        ax.plot(*ours, color=second, linewidth=1.2, linestyle=DASHES)


def _limit(set_limits: Callable[[float, float], object], truth: Array) -> float:
    """Limits around the truth with a wide margin: a prediction that runs away leaves the panel.

    Returns:
        Their distance.
    """
    low, high = float(truth.min()), float(truth.max())
    margin = 0.3 * (high - low) or 1.0
    set_limits(low - margin, high + margin)
    return high - low + 2 * margin


def _show_truth(ax: Axes, truth: Array, predicted: Array) -> None:
    """Keeps the truth visible where a prediction runs away, and rounding errors out of sight."""
    low, high = float(truth.min()), float(truth.max())
    largest = max(abs(low), abs(high))
    spread = max(high - low, _bound(predicted - truth))
    if largest and spread <= ROUNDING * largest:
        ax.set_ylim(low - 0.05 * largest, high + 0.05 * largest)
    size = max(high - low, 0.1 * largest)
    if size and spread > 20 * size:
        ax.set_ylim(low - 3 * size, high + 3 * size)


def _two_lines(figure: Figure, count: int, *more: Line2D) -> None:
    """The legend of `_pairs` lines of so many trajectories."""
    first, second = (TRUTH, PREDICTION) if count == 1 else ("#4D4D4D", "#4D4D4D")
    wide, alpha = (1.2, 1.0) if count == 1 else (2.2, PALE)
    lines = [
        Line2D([], [], color=first, linewidth=wide, alpha=alpha, label="truth"),
        Line2D([], [], color=second, linewidth=1.2, linestyle=DASHES, label="prediction"),
    ]
    figure.legend(
        handles=[*lines, *more],
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=SMALL_FONT_SIZE,
    )


def scatter_pairs(pairs: Mapping[str, tuple[Array, Array]], title: str = "") -> Figure:
    """Predictions over the truth, a panel for each quantity; on the line they are right.

    Args:
        pairs: (truth, prediction), by what they are.
        title: name of the data.
    """
    figure = new_figure(COLUMN_WIDTH * len(pairs), 2.8)
    axes = figure.subplots(1, len(pairs), squeeze=False)[0]
    for ax, (name, (truth, predicted)) in zip(axes, pairs.items(), strict=True):
        ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]
        ax.plot(ends, ends, color=GREY, linewidth=0.8)
        ax.plot(truth, predicted, "o", color=PREDICTION, markersize=2.5)
        dress(ax, name, "predicted", title)
    return figure
