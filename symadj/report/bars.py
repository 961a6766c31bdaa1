"""Bars: what each method costs, one row of panels per data set."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from symadj.figures.style import (
    COLUMN_WIDTH,
    FONT_SIZE,
    PAGE_WIDTH,
    SMALL_FONT_SIZE,
    Style,
    dress,
    new_figure,
    styles_of,
)
from symadj.report.cell import Cell
from symadj.report.names import joined, resolve, sequence
from symadj.report.tables import pivot

_TITLES = {"memory": "peak memory", "time": "time"}


def cost_bars(
    runs: pd.DataFrame,
    by: Sequence[str] = ("grad",),
    panels: Sequence[str] = ("data",),
    cells: Sequence[str] = ("memory", "time"),
    log: Sequence[str] = (),
) -> Figure:
    """Peak memory (MiB) and time (s/iteration) of every method, as labelled horizontal bars.

    A whisker is one standard deviation over the runs, or the quartiles of a single run's
    iterations. A method that failed has its failure instead of a bar.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        by: names whose values are the bars.
        panels: names whose values are the rows of panels.
        cells: the quantities, one column of panels each.
        log: those of them whose axis is logarithmic; it begins at half of the smallest value.
    """
    methods, rows = sequence(runs, by), sequence(runs, panels)
    labelled = runs.assign(_by=joined(runs, by), _panel=joined(runs, panels))
    table = pivot(labelled, ["_by"], ["_panel"], cells, quartiles=True)
    height = 0.75 + len(rows) * (0.35 + 0.2 * len(methods))
    figure = new_figure(PAGE_WIDTH if len(cells) > 1 else COLUMN_WIDTH, height)
    axes = figure.subplots(len(rows), len(cells), squeeze=False, sharey=True)
    styles = styles_of(methods)
    for i, row in enumerate(rows):
        for ax, name in zip(axes[i], cells, strict=True):
            header = resolve(name, runs).header
            _bars(ax, {m: table.at[m, (row, header)] for m in methods}, styles, name in log)
            last = i == len(rows) - 1
            dress(ax, _axis_label(name, header) if last else "", title=row if len(rows) > 1 else "")
    return figure


def _axis_label(name: str, header: str) -> str:
    return header.replace(name, _TITLES.get(name, name), 1)


def _bars(ax: Axes, cells: dict[str, Cell], styles: dict[str, Style], log: bool) -> None:
    means = [cell.mean for cell in cells.values() if cell.mean]
    reach = max((cell.mean + _above(cell) for cell in cells.values() if cell.mean), default=1.0)
    # Room for the values at the ends of the bars.
    low, high = 0.0, reach * 1.3
    if log and means:
        low = min(means) / 2
        high = reach * (reach / low) ** 0.3
        ax.set_xscale("log")
        steps = (1.0, 2.0, 5.0) if high < 100 * low else (1.0,)
        ax.xaxis.set_major_locator(LogLocator(subs=steps))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlim(low, high)
    for y, (method, cell) in enumerate(cells.items()):
        style = styles[method]
        if cell.mean is not None:
            ax.barh(y, cell.mean, height=0.7, color=style.color, edgecolor="white", lw=0.4)
            # White hatching over the full bar, so that the outline stays clean.
            ax.barh(y, cell.mean, height=0.7, color="none", edgecolor="white", hatch=style.hatch)
            bar = ax.errorbar(cell.mean, y, xerr=_whisker(cell), color="black", lw=0.8, capsize=2)
            _halo(bar)
        _value(ax, y, cell, low)
    ax.set_yticks(range(len(cells)), list(cells), fontsize=FONT_SIZE)
    ax.set_ylim(len(cells) - 0.5, -0.5)
    if all(cell.mean is None for cell in cells.values()):
        ax.set_xticks([])
    elif log or reach >= 1000:
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _halo(bar: ErrorbarContainer) -> None:
    """A white rim, without which a whisker is lost on a dark bar."""
    _, caps, lines = bar.lines
    for artist in (*caps, *lines):
        artist.set_path_effects([withStroke(linewidth=2.2, foreground="white")])


def _value(ax: Axes, y: int, cell: Cell, low: float) -> None:
    text = str(cell)
    if cell.mean is not None:
        failed = ", ".join(f"{number} {what}" for what, number in cell.failures)
        text = _short(cell.mean) + (f" ({failed})" if failed else "")
    ax.annotate(
        text,
        ((cell.mean or low) + _above(cell), y),
        xytext=(2, 0),
        textcoords="offset points",
        va="center",
        fontsize=SMALL_FONT_SIZE,
        fontstyle="normal" if cell.mean is not None else "italic",
    )


def _short(value: float) -> str:
    """Three significant digits, the zeros among them too."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:#.3g}".rstrip(".")


def _whisker(cell: Cell) -> list[list[float]] | None:
    assert cell.mean is not None
    if cell.std:
        return [[cell.std], [cell.std]]
    if cell.quartiles is not None:
        low, high = cell.quartiles
        return [[max(cell.mean - low, 0.0)], [max(high - cell.mean, 0.0)]]
    return None


def _above(cell: Cell) -> float:
    if cell.mean is None:
        return 0.0
    whisker = _whisker(cell)
    return whisker[1][0] if whisker else 0.0
