"""One look for all figures: a gradient method has the same colour, marker and hatch everywhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

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
        hollow: whether markers are white inside.
    """

    color: str
    marker: str
    hatch: str
    dash: Dash
    hollow: bool = False

    @property
    def face(self) -> str:
        """The colour inside of markers."""
        return "white" if self.hollow else self.color


# The colours of Okabe and Ito (2008) and two of Tol's, which readers who are blind to one of the
# three primaries tell apart; hatch, marker and dash serve those who print in grey. The order is
# that of the paper's tables, then other software.
METHOD_STYLE: dict[str, Style] = {
    "adjoint": Style("#E69F00", "v", "...", (0, (1.2, 1.2))),
    "backprop": Style("#0072B2", "s", "///", (0, None)),
    "checkpoint": Style("#56B4E9", "D", "\\\\\\", (0, (5, 1.5))),
    "aca": Style("#009E73", "^", "xxx", (0, (3, 1, 1, 1))),
    "symplectic": Style("#C03A00", "o", "", (0, None)),
    "reversible": Style("#7818D8", "<", "//", (0, (8, 3))),
    "torchdiffeq": Style("#882255", "P", "||", (0, (7, 2))),
    "torchdiffeq adjoint": Style("#CC79A7", "X", "--", (0, (2, 2))),
    "diffrax": Style("#1A1A1A", "h", "++", (0, (6, 1.5, 1, 1.5))),
}

_OTHERS = (
    Style("#8C8C8C", "*", "oo", (0, (4, 2, 1, 2, 1, 2))),
    Style("#44AA99", ">", "\\\\", (0, (3, 3))),
    Style("#7A5C3A", "p", "xx", (0, (1, 2))),
)

# Of the variants of a method: the share of white in its colour, whether markers are hollow, dash.
_VARIANTS: tuple[tuple[float, bool, Dash], ...] = (
    (0.3, True, (0, (6, 2))),
    (0.5, False, (0, (2.5, 1.5))),
    (0.5, True, (0, (8, 1.5, 2, 1.5))),
    (0.3, False, (0, (1, 1.8))),
    (0.65, True, (0, (4, 1, 1, 1, 1, 1))),
    (0.65, False, (0, (10, 3))),
)
# Variants that look the same in every figure; further ones take what a figure leaves over.
_KNOWN_VARIANTS = {"full": 0, "stages": 0, "seminorm": 1, "revolve": 1, "compiled": 2}


def base_of(name: str) -> str:
    """The method that a name is, or is a variant of ("symplectic_stages"); empty: none.

    A variant's name is that of the method, then a space, an underscore or a comma, and more.
    """
    key = _key(name)
    bases = [b for b in METHOD_STYLE if key == b or key.startswith((f"{b} ", f"{b},"))]
    return max(bases, key=len, default="")


def style_of(name: str) -> Style:
    """The style of a gradient method or peer, in any spelling ("torchdiffeq_adjoint").

    A variant of a method has its colour, lighter, its marker and a dash of its own. A name without
    a style always gets the same one of a few spare ones.
    """
    return styles_of([name])[name]


def styles_of(names: Iterable[str]) -> dict[str, Style]:
    """A style for each of the names that share a figure, distinct as far as there are styles.

    Known methods keep their own, their variants have shades of it; the others, in sorted order,
    take what is left over.
    """
    chosen: dict[str, Style] = {}
    names = sorted(set(names))
    bases = {name: base_of(name) for name in names}
    for base in dict.fromkeys(filter(None, bases.values())):
        own = [name for name in names if bases[name] == base]
        variants = [name for name in own if _key(name) != base]
        chosen |= {name: METHOD_STYLE[base] for name in own if _key(name) == base}
        chosen |= _variants(METHOD_STYLE[base], base, variants)
    left = [name for name in names if not bases[name]]
    if len(left) == 1:
        spare = _OTHERS[zlib.crc32(_key(left[0]).encode()) % len(_OTHERS)]
        return chosen | {left[0]: spare}
    unused = [METHOD_STYLE[base] for base in METHOD_STYLE if base not in bases.values()]
    free = [*_OTHERS, *unused]
    return chosen | {name: free[i % len(free)] for i, name in enumerate(left)}


def _variants(style: Style, base: str, names: Sequence[str]) -> dict[str, Style]:
    """The looks of the variants of a method; those that are known come first."""
    known = {name: _KNOWN_VARIANTS.get(_key(name).removeprefix(base).strip(" ,")) for name in names}
    found: dict[str, int] = {}
    for name in sorted(names, key=lambda name: known[name] is None):
        wanted = known[name]
        free = [i for i in range(len(_VARIANTS)) if i not in found.values()] or [len(found)]
        # Looks that known variants may want are the last to be taken by others.
        free.sort(key=lambda i: i in _KNOWN_VARIANTS.values())
        found[name] = wanted if wanted in free else free[0]
    return {name: _variant(style, i % len(_VARIANTS)) for name, i in found.items()}


def _variant(style: Style, number: int) -> Style:
    white, hollow, dash = _VARIANTS[number]
    mixed = [round(255 * (white + (1 - white) * part)) for part in to_rgb(style.color)]
    color = "#{:02X}{:02X}{:02X}".format(*mixed)
    return replace(style, color=color, hatch=f"{style.hatch}|", dash=dash, hollow=hollow)


def _key(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that no window or pyplot state knows of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(ax: Axes, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Labels and the common look of an axes: no box, a faint grid, legible sizes and ticks."""
    ax.set_xlabel(xlabel, fontsize=FONT_SIZE)
    ax.set_ylabel(ylabel, fontsize=FONT_SIZE)
    if title:
        ax.set_title(title, fontsize=FONT_SIZE)
    ax.tick_params(labelsize=SMALL_FONT_SIZE, which="both")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.25, linewidth=0.6)
    ax.set_axisbelow(True)
    for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
        axis.get_offset_text().set_fontsize(SMALL_FONT_SIZE)
        if axis.get_scale() == "log" and getattr(axis.get_transform(), "base", None) == 10:
            plain_ticks(axis, *sorted(limits))


def plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of a logarithmic axis from low to high.

    Their labels are plain numbers where all lie from 0.001 to a million, else powers of ten. Where
    there is room, at a high over low of less than 100 (50 side by side), 2 and 5 have ticks too.
    """
    room = 50 if isinstance(axis, XAxis) else 100
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < room * low else (1.0,)))
    plain = low >= 1e-3 and high < 1e6
    axis.set_major_formatter(FuncFormatter(_plain if plain else _power))
    axis.set_minor_formatter(NullFormatter())


def _plain(value: float, _: int | None) -> str:
    return f"{value:,g}"


def _power(value: float, _: int | None) -> str:
    mantissa, power = f"{value:.0e}".split("e")
    factor = "" if mantissa == "1" else rf"{mantissa} \times "
    return f"${factor}10^{{{int(power)}}}$"
