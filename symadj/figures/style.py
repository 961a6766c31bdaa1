"""One look for all figures: a gradient method has the same colour, marker and hatch everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COLUMN_WIDTH = 3.4
PAGE_WIDTH = 7.0
FONT_SIZE = 8.0
SMALL_FONT_SIZE = 7.0

Dash = tuple[float, tuple[float, ...] | None]


@dataclass(frozen=True)
class Style:
    """How one method is drawn.

    Attributes:
        color: of lines, points and bars.
        marker: of points.
        hatch: of bars, so that they differ without colour too.
        dash: of lines, as matplotlib's `linestyle` takes it.
    """

    color: str
    marker: str
    hatch: str
    dash: Dash


# The colours of Okabe and Ito (2008) and two of Tol's, which readers who are blind to one of the
# three primaries tell apart; hatch, marker and dash serve those who print in grey.
METHOD_STYLE: dict[str, Style] = {
    "backprop": Style("#0072B2", "s", "///", (0, None)),
    "checkpoint": Style("#56B4E9", "D", "\\\\\\", (0, (5, 1.5))),
    "aca": Style("#009E73", "^", "xxx", (0, (3, 1, 1, 1))),
    "adjoint": Style("#E69F00", "v", "...", (0, (1.2, 1.2))),
    "symplectic": Style("#C03A00", "o", "", (0, None)),
    "torchdiffeq": Style("#882255", "P", "||", (0, (7, 2))),
    "torchdiffeq adjoint": Style("#CC79A7", "X", "--", (0, (2, 2))),
    "diffrax": Style("#1A1A1A", "h", "++", (0, (6, 1.5, 1, 1.5))),
}

_OTHERS = (
    Style("#8C8C8C", "*", "oo", (0, (4, 2, 1, 2, 1, 2))),
    Style("#999933", "<", "//", (0, (8, 3))),
    Style("#44AA99", ">", "\\\\", (0, (3, 3))),
    Style("#7A5C3A", "p", "xx", (0, (1, 2))),
)


def style_of(name: str) -> Style:
    """The style of a gradient method or peer, in any spelling ("torchdiffeq_adjoint").

    A name without a style of its own always gets the same one of a few spare ones.
    """
    key = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    if key in METHOD_STYLE:
        return METHOD_STYLE[key]
    return _OTHERS[zlib.crc32(key.encode()) % len(_OTHERS)]


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """A style for each of the names that share a figure, distinct as far as there are styles.

    Known methods keep their own; the others, in sorted order, take what is left over.
    """
    names = set(names)
    chosen = {name: style_of(name) for name in names if style_of(name) in METHOD_STYLE.values()}
    free = [s for s in (*_OTHERS, *METHOD_STYLE.values()) if s not in chosen.values()]
    for i, name in enumerate(sorted(names - chosen.keys())):
        chosen[name] = free[i % len(free)] if free else style_of(name)
    return chosen


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that no window or pyplot state knows of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(ax: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Labels and the common look of an axes: no box, a faint grid, legible sizes."""
    ax.set_xlabel(xlabel, fontsize=FONT_SIZE)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE)
    if title:
        ax.set_title(title, fontsize=FONT_SIZE)
    ax.tick_params(labelsize=SMALL_FONT_SIZE, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for offset in (ax.xaxis.get_offset_text(), ax.yaxis.get_offset_text()):
        offset.set_fontsize(SMALL_FONT_SIZE)
