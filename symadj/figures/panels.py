"""A figure of several panels, with a legend above all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symadj.figures.style import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    SMALL_FONT_SIZE,
    new_figure,
    plain_ticks,
)

_LEGEND_LINE = 0.155  # inches, at the small font size


def panel_grid(titles: Sequence[str], height: float = 2.4) -> tuple[Figure, list[Axes]]:
    """One panel per title: one of them at column width, several over the width of a page."""
    n = len(titles)
    across = min(n, 2) if n != 3 else 3
    down = -(-n // across)
    figure = new_figure(COLUMN_WIDTH if n == 1 else PAGE_WIDTH, height * down)
    axes = list(figure.subplots(down, across, squeeze=False).flat)
    for unused in axes[n:]:
        unused.remove()
    return figure, axes[:n]


def legend_above(
    figure: Figure, axes: Iterable[Axes], first: Sequence[str] = (), title: str = ""
) -> None:
    """One legend for all panels, each label once, for which the figure grows in height.

    The labels in `first` come first, in that order.
    """
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(str(label), handle)
    if not handles:
        return
    order = [label for label in first if label in handles]
    handles = {label: handles[label] for label in (*order, *handles)}
    across = min(len(handles), _fitting(figure.get_figwidth(), max(map(len, handles))))
    lines = -(-len(handles) // across) + bool(title)
    figure.set_figheight(figure.get_figheight() + _LEGEND_LINE * lines)
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper center",
        ncols=across,
        fontsize=SMALL_FONT_SIZE,
        frameon=False,
        handlelength=2.2,
        handletextpad=0.5,
        columnspacing=1.0,
        title=title or None,
        title_fontsize=SMALL_FONT_SIZE,
    )


def _fitting(width: float, letters: int) -> int:
    """How many legend entries of so many letters fit side by side in so many inches."""
    return max(1, int(width / (0.5 + 0.055 * letters)))


def log_if_wide(ax: Axes, axis: str, values: Iterable[float]) -> None:
    """A logarithmic axis ("x" or "y") for positive values that span a factor of eight or more."""
    finite = [v for v in values if np.isfinite(v)]
    if not finite or min(finite) <= 0 or max(finite) < 8 * min(finite):
        return
    ax.set(**{f"{axis}scale": "log"})
    plain_ticks(ax.xaxis if axis == "x" else ax.yaxis, min(finite), max(finite))
