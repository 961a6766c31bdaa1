"""Figures of guided samples: before, wanted and after, the way there, the loss."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from symadj.figures.flow import tile
from symadj.figures.panels import log_if_wide
from symadj.figures.style import FONT_SIZE, PAGE_WIDTH, dress, new_figure

Array = NDArray[np.floating]

BEFORE, AFTER, WANTED = "#8C8C8C", "#C03A00", "#0072B2"
UNKNOWN = "#F2D9CF"
ROWS = 6
"""Samples whose states on the way are shown."""


def image_sheets(sheets: Sequence[tuple[str, Array]]) -> Figure:
    """Sheets of images side by side.

    Args:
        sheets: titles and images [n, height, width], values in [0, 1], 1 drawn black; what is NaN
            is not known and has a colour.
    """
    tiled = [tile(images) for _, images in sheets]
    height = max(len(sheet) / sheet.shape[1] for sheet in tiled)
    figure = new_figure(PAGE_WIDTH, height * PAGE_WIDTH / len(sheets) + 0.3)
    axes = figure.subplots(1, len(sheets), squeeze=False)[0]
    for ax, sheet, (title, _) in zip(axes, tiled, sheets, strict=True):
        _sheet(ax, sheet, title)
    return figure


def states_on_the_way(ways: Sequence[tuple[str, Array, Sequence[float]]]) -> Figure:
    """States of a few samples from noise to data: a row for each sample, a column for each time.

    Args:
        ways: titles, images [T, n, height, width] and their times [T]; one panel each.
    """
    most = max(len(times) for _, _, times in ways)
    figure = new_figure(PAGE_WIDTH, 0.6 + PAGE_WIDTH / len(ways) * ROWS / most)
    axes = figure.subplots(1, len(ways), squeeze=False)[0]
    for ax, (title, images, times) in zip(axes, ways, strict=True):
        shown = np.swapaxes(images[:, :ROWS], 0, 1)
        rows, columns, height, width = shown.shape
        sheet = np.zeros((rows * (height + 1) + 1, columns * (width + 1) + 1), shown.dtype)
        for i in range(rows):
            for j in range(columns):
                top, left = i * (height + 1) + 1, j * (width + 1) + 1
                sheet[top : top + height, left : left + width] = shown[i, j]
        _sheet(ax, sheet, title)
        middles = [j * (width + 1) + (width + 1) / 2 for j in range(columns)]
        ax.set_xticks(middles, [f"{t:.2g}" for t in times], fontsize=FONT_SIZE - 2)
        ax.set_xlabel("time t", fontsize=FONT_SIZE)
    return figure


def trajectories(
    data: Array,
    before: Array,
    after: Array,
    target: Sequence[float] | None = None,
    labels: tuple[str, str] = ("x1", "x2"),
) -> Figure:
    """The ways of samples through the plane, from noise (rings) to data (points).

    Args:
        data: points [m, 2] that the field was trained on.
        before: [T, n, 2], unguided.
        after: [T', n, 2], guided.
        target: a point that is wanted.
        labels: of the two axes.
    """
    figure = new_figure(PAGE_WIDTH, PAGE_WIDTH / 2 + 0.3)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    panels = ((before, "unguided", BEFORE), (after, "guided", AFTER))
    for ax, (path, title, colour) in zip(axes, panels, strict=True):
        ax.scatter(data[:, 0], data[:, 1], s=2, color="0.8", linewidths=0, rasterized=True)
        ax.plot(path[..., 0], path[..., 1], color=colour, linewidth=0.7, alpha=0.8)
        ax.scatter(*path[0].T, s=10, facecolors="none", edgecolors=colour, linewidths=0.7)
        ax.scatter(*path[-1].T, s=14, color=colour, zorder=3)
        if target is not None:
            ax.plot(*target, "+", color=WANTED, markersize=14, markeredgewidth=2, zorder=4)
        dress(ax, *labels, title)
        ax.set_aspect("equal")
    return figure


def loss_over_uses(history: pd.DataFrame) -> Figure:
    """The mean loss of the samples and its range over them, against the uses of the gradient.

    Args:
        history: columns "iteration", "loss", "loss_least", "loss_most" and, of the least loss that
            each sample has had, the mean, "loss_kept"; NaN where that is not what is kept.
    """
    figure = new_figure(PAGE_WIDTH * 0.6, 2.6)
    ax = figure.subplots()
    x = history["iteration"]
    ax.fill_between(x, history["loss_least"], history["loss_most"], color=AFTER, alpha=0.15,
                    linewidth=0, label="all samples")  # fmt: skip
    ax.plot(x, history["loss"], color=AFTER, label="mean, as tried")
    if history["loss_kept"].notna().any():
        ax.plot(x, history["loss_kept"], color=WANTED, label="mean of the best so far")
    dress(ax, "gradients used", "loss")
    log_if_wide(ax, "y", history["loss"])
    ax.legend(frameon=False, fontsize=FONT_SIZE)
    return figure


def _sheet(ax: Axes, sheet: Array, title: str) -> None:
    colours = matplotlib.colormaps["gray_r"].with_extremes(bad=UNKNOWN)
    masked = np.ma.masked_invalid(sheet)
    ax.imshow(masked, cmap=colours, vmin=0, vmax=1, interpolation="nearest")
    ax.set_title(title, fontsize=FONT_SIZE)
    ax.set_xticks([])
    ax.set_yticks([])
