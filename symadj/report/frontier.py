"""Memory against time: which methods nothing beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from symadj.errors import InputError
from symadj.figures.panels import log_if_wide, panel_grid
from symadj.figures.style import SMALL_FONT_SIZE, Style, dress, styles_of
from symadj.report.cell import Cell
from symadj.report.names import joined, resolve, sequence
from symadj.report.tables import pivot

Pairs = dict[str, tuple[Cell, Cell]]
Points = dict[str, "Point"]

# Where a label may stand, as (dx, dy) in points from its marker, the best place first.
_PLACES = (
    *((6, 0), (-6, 0), (0, 6), (0, -6), (5, 5), (5, -5), (-5, 5), (-5, -5)),
    *((5, 13), (5, -13), (-5, 13), (-5, -13), (0, 14), (0, -14)),
    *((x, y) for y in (22, -22, 31, -31) for x in (5, -5, 0)),
)
_NEAR = 9  # points; a label farther away is joined to its marker by a line


@dataclass(frozen=True)
class Point:
    """Means and standard deviations of time and memory; a deviation of 0 where there is none."""

    x: float
    y: float
    dx: float = 0.0
    dy: float = 0.0


def frontier(
    runs: pd.DataFrame, by: Sequence[str] = ("grad",), panels: Sequence[str] = ("data",)
) -> Figure:
    """Peak memory (MiB) against time (s/iteration), a labelled point per method.

    A dotted line joins the methods that no other one beats in both. Failed methods are named
    below the picture. Axes that span a factor of eight or more are logarithmic.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        by: names whose values are the points.
        panels: names whose values are the panels; one without any point is left out.

    Raises:
        InputError: no point at all.
    """
    methods = sequence(runs, by)
    measured = _measured(runs, methods, by, panels)
    if not measured:
        raise InputError("no run that succeeded has both its memory and its time measured.")
    figure, axes = panel_grid(list(measured), height=2.7)
    drawn: list[tuple[Axes, Points]] = []
    for ax, (title, pairs) in zip(axes, measured.items(), strict=True):
        drawn.append((ax, _panel(ax, pairs, styles_of(methods))))
        xlabel = "time (s/iteration)" + _failures(pairs)
        dress(ax, xlabel, "peak memory (MiB)", title if len(measured) > 1 else "")
    _place_labels(figure, drawn)
    return figure


def nondominated(points: Points) -> list[str]:
    """The names of the points that no other one beats in one coordinate and equals in the other.

    In order of the first coordinate.
    """

    def beaten(name: str) -> bool:
        x, y = points[name].x, points[name].y
        others = ((p.x, p.y) for p in points.values())
        return any(a <= x and b <= y and (a, b) != (x, y) for a, b in others)

    names = [name for name in points if not beaten(name)]
    return sorted(names, key=lambda name: points[name].x)


def _measured(
    runs: pd.DataFrame, methods: Sequence[str], by: Sequence[str], panels: Sequence[str]
) -> dict[str, Pairs]:
    """For each panel with a point, the cells of time and memory of every method."""
    labelled = runs.assign(_by=joined(runs, by), _panel=joined(runs, panels))
    table = pivot(labelled, ["_by"], ["_panel"], ["time", "memory"], counts=False)
    time, memory = (resolve(name, runs).header for name in ("time", "memory"))
    found: dict[str, Pairs] = {
        title: {m: (table.at[m, (title, time)], table.at[m, (title, memory)]) for m in methods}
        for title in sequence(runs, panels)
    }
    return {title: pairs for title, pairs in found.items() if _points(pairs)}


def _points(pairs: Pairs) -> Points:
    return {
        name: Point(x.mean, y.mean, x.std or 0.0, y.std or 0.0)
        for name, (x, y) in pairs.items()
        if x.mean is not None and y.mean is not None
    }


def _panel(ax: Axes, pairs: Pairs, styles: dict[str, Style]) -> Points:
    points = _points(pairs)
    best = [points[name] for name in nondominated(points)]
    ax.plot([p.x for p in best], [p.y for p in best], ":", color="0.5", lw=1.2, zorder=1)
    for name, p in points.items():
        style = styles[name]
        ax.errorbar(p.x, p.y, p.dy or None, p.dx or None, color=style.color, lw=0.8, zorder=2)
        edge = style.color if style.hollow else "white"
        width = 1.0 if style.hollow else 0.5
        ax.plot(p.x, p.y, style.marker, mfc=style.face, mec=edge, ms=6, mew=width)
    log_if_wide(ax, "x", [p.x for p in points.values()])
    log_if_wide(ax, "y", [p.y for p in points.values()])
    ax.margins(0.22)
    return points


def _failures(pairs: Pairs) -> str:
    failed = [f"{name}: {x}" for name, (x, _) in pairs.items() if x.mean is None and x.failures]
    return "\n" + ", ".join(failed) if failed else ""


def _place_labels(figure: Figure, drawn: Sequence[tuple[Axes, Points]]) -> None:
    # Where the axes end up is known only once the layout was made.
    figure.draw_without_rendering()
    for ax, points in drawn:
        taken = {name: _occupied(ax, point) for name, point in points.items()}
        labels: list[Bbox] = []
        for name, point in points.items():
            _, *whiskers = taken[name]
            others = [box for other, boxes in taken.items() if other != name for box in boxes]
            labels.append(_label(ax, name, point, [*whiskers, *others], labels))


def _occupied(ax: Axes, p: Point) -> list[Bbox]:
    """Where marker and whiskers are, in pixels; the marker comes first."""
    corners = (
        (p.x, p.y),
        (p.x - p.dx, p.y),
        (p.x + p.dx, p.y),
        (p.x, p.y - p.dy),
        (p.x, p.y + p.dy),
    )
    at, left, right, low, high = ax.transData.transform(corners)
    marker = Bbox([at, at]).padded(8)
    return [marker, *(Bbox([a, b]).padded(2) for a, b in ((left, right), (low, high)))]


def _label(
    ax: Axes, name: str, point: Point, marks: Sequence[Bbox], labels: Sequence[Bbox]
) -> Bbox:
    """Writes a point's name where it is free, near and inside the axes."""
    text = ax.annotate(
        name,
        (point.x, point.y),
        (0, 0),
        textcoords="offset points",
        fontsize=SMALL_FONT_SIZE,
        color="0.15",
        path_effects=[withStroke(linewidth=2, foreground="white")],
    )
    text.set_in_layout(False)
    inside = ax.get_window_extent()

    def cost(place: tuple[int, int]) -> float:
        box = _move(text, place)
        hidden = sum(_share(box, other) for other in marks)
        # Two words on each other can be read neither one nor the other.
        clash = sum(_share(box, other) for other in labels)
        # Far from its marker a label is read as another one's.
        return 100 * clash + 10 * hidden + 3 * (1 - _share(box, inside)) + 0.02 * math.hypot(*place)

    place = min(_PLACES, key=cost)
    if math.hypot(*place) > _NEAR:
        line = {"arrowstyle": "-", "color": "0.5", "lw": 0.5, "shrinkA": 0, "shrinkB": 4}
        xy = (point.x, point.y)
        ax.annotate("", xy, place, textcoords="offset points", arrowprops=line)
    return _move(text, place)


def _move(text: Text, place: tuple[int, int]) -> Bbox:
    dx, dy = place
    text.set_position(place)
    text.set_horizontalalignment("left" if dx > 0 else "right" if dx < 0 else "center")
    text.set_verticalalignment("bottom" if dy > 0 else "top" if dy < 0 else "center")
    return text.get_window_extent()


def _share(box: Bbox, other: Bbox) -> float:
    common = Bbox.intersection(box, other)
    return 0.0 if common is None else common.width * common.height / (box.width * box.height)
