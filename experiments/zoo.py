"""Every gradient method with every solver, on one field of each kind: time, memory, exactness.

    python experiments/zoo.py --preset cpu    measure, then write results/zoo
    python experiments/zoo.py --dry-run       say how long that takes, measure nothing
    python experiments/zoo.py --redraw        tables and figures from the saved records

Each pair solves with the same fixed steps and differentiates a loss that has outputs between them.
Time and peak live tensor bytes are of one solve and its backward pass, and compared with those of
backpropagation through the same steps, whose gradient is also what the errors are measured against.
A pair that cannot be says why. Solvers are all that symadj has by name; a stiff field joins where
there are implicit ones among them.
"""

from __future__ import annotations

import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from harness import Drawn, Results, Sheet
from harness.at_once import AtOnce, Groups, Points, main
from symadj import GRADIENTS, SOLVERS, GradientMethod, SymadjError, odeint
from symadj.figures.style import FONT_SIZE, PAGE_WIDTH, SMALL_FONT_SIZE, new_figure
from symadj.grad import Symplectic
from symadj.meters.meter import make_meter
from symadj.ode.layout import State
from symadj.ode.methods import GeneralLinear, RungeKutta
from symadj.report.frames import where
from symadj.report.names import MISSING
from symadj.units import format_bytes

SECONDS = 300.0  # of the preset cpu, about, on one core
BASE = "backprop"
GRADS: dict[str, Callable[[], GradientMethod]] = {
    **{name: GRADIENTS[name] for name in (BASE, "checkpoint", "aca", "adjoint", "symplectic")},
    "symplectic_stages": partial(Symplectic, store="stages"),
    **GRADIENTS,
}
IMPLICIT = [n for n, m in SOLVERS.items() if not isinstance(m, (RungeKutta, GeneralLinear))]
NEWTON = 1e-13
"""How exactly the equations of implicit steps are solved, so that gradients are as exact."""
TIMES = torch.tensor([0.0, 0.37, 0.71, 1.0], dtype=torch.float64)


class Network(nn.Module):
    """A smooth small network of the state and the time."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim + 1, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
            nn.Linear(width, dim),
        ).double()  # fmt: skip

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.layers(torch.cat([y, t.expand(len(y), 1)], 1))


class Flow(nn.Module):
    """A continuous normalizing flow, its trace by Hutchinson's estimate and autograd inside."""

    noise: Tensor

    def __init__(self, dim: int, width: int, batch: int) -> None:
        super().__init__()
        self.network = Network(dim, width)
        self.register_buffer("noise", torch.randn(batch, dim, dtype=torch.float64))

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        z = state[0] if state[0].requires_grad else state[0].requires_grad_()
        dz = self.network(t, z)
        (back,) = torch.autograd.grad(dz, z, self.noise, create_graph=True)
        return dz, -(back * self.noise).sum(1)


class Pendulums(nn.Module):
    """A chain of coupled pendulums with friction; three numbers are learned."""

    def __init__(self) -> None:
        super().__init__()
        self.gravity, self.coupling, self.friction = (
            nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in (9.8, 2.0, 0.1)
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        angle, speed = y.chunk(2, 1)
        between = angle.roll(1, 1) + angle.roll(-1, 1) - 2 * angle
        force = self.coupling * between - self.gravity * torch.sin(angle)
        return torch.cat([speed, force - self.friction * speed], 1)


class Stiff(nn.Module):
    """A small network beside decays whose rates lie between 1 and 10,000."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.network = Network(dim, width)
        self.rates = nn.Parameter(torch.logspace(0, 4, dim, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.network(t, y) - self.rates * y


@dataclass(frozen=True)
class Size:
    """How large the fields are, and how much is measured.

    Attributes:
        batch: samples.
        dim: entries of a sample's state.
        width: of the networks' hidden layers.
        steps: fixed steps over [0, 1].
        repeats: of the timing.
        solvers: by name.
    """

    batch: int
    dim: int
    width: int
    steps: int
    repeats: int
    solvers: Sequence[str] = tuple(SOLVERS)


FEW = ("dopri5", "reversible_heun", *IMPLICIT[:1])
SIZES = {"cpu": Size(64, 8, 64, 10, 5), "smoke": Size(3, 2, 4, 4, 1, FEW)}


def fields(size: Size) -> dict[str, tuple[nn.Module, State]]:
    """A field of each kind, with a start."""
    torch.manual_seed(0)
    y0 = torch.randn(size.batch, size.dim, dtype=torch.float64).requires_grad_()
    zero = torch.zeros(size.batch, dtype=torch.float64)
    found: dict[str, tuple[nn.Module, State]] = {
        "network": (Network(size.dim, size.width), y0),
        "flow": (Flow(size.dim, size.width, size.batch), (y0, zero)),
        "pendulums": (Pendulums(), y0),
    }
    if IMPLICIT:
        found["stiff"] = Stiff(size.dim, size.width), y0
    return found


KINDS = {
    "network": "a network of 64-64 tanh, 8-d",
    "flow": "a flow with that network, trace by Hutchinson",
    "pendulums": "4 coupled pendulums, three parameters",
    "stiff": "that network beside decays of rate 1 to 10,000",
}


def measured(preset: str, _: Path) -> Groups:
    """All pairs on all fields, in groups of a field with a solver."""
    size = SIZES[preset]
    return {
        f"{kind}, {solver}": partial(pairs, kind, field, y0, solver, size)
        for kind, (field, y0) in fields(size).items()
        for solver in size.solvers
    }


def pairs(kind: str, field: nn.Module, y0: State, solver: str, size: Size) -> Points:
    """All gradient methods with one solver on one field."""
    runs = {name: partial(gradients, field, y0, solver, make, size) for name, make in GRADS.items()}
    points: dict[str, dict[str, Any]] = {}
    reference: list[Tensor] | None = None
    for name, run in runs.items():
        points[name] = {"field": kind, "solver": solver, "gradient": name}
        try:
            found = run()
        except SymadjError as error:
            points[name] |= {"status": error.status, "why": first_sentence(str(error))}
            continue
        meter = make_meter("dispatch", torch.device("cpu"))
        with meter:
            run()
        points[name] |= {"status": "ok", "peak_bytes": meter.peak_bytes}
        reference = found if name == BASE else reference
        if reference is not None:
            points[name]["error"] = difference(found, reference)
    done = [name for name, point in points.items() if point["status"] == "ok"]
    seconds: dict[str, list[float]] = {name: [] for name in done}
    for _ in range(size.repeats):
        for name in done:
            began = time.perf_counter()
            runs[name]()
            seconds[name].append(time.perf_counter() - began)
    for name in done:
        points[name]["seconds"] = statistics.median(seconds[name])
    return list(points.values())


def gradients(
    field: nn.Module, y0: State, solver: str, make: Callable[[], GradientMethod], size: Size
) -> list[Tensor]:
    """Of the start and the parameters, for one solve."""
    options: dict[str, float] = {"num_steps": size.steps}
    if solver in IMPLICIT:
        options["newton_tol"] = NEWTON
    ys = odeint(field, y0, TIMES, method=solver, options=options, gradient=make())
    loss = sum(torch.sin(y).sum() for y in (ys if isinstance(ys, tuple) else (ys,)))
    start = y0[0] if isinstance(y0, tuple) else y0
    assert isinstance(loss, Tensor)
    return list(torch.autograd.grad(loss, [start, *field.parameters()]))


def difference(ours: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
    """The norm of all differences over that of the reference."""
    apart, whole = (
        torch.cat([g.flatten() for g in tensors])
        for tensors in ([a - b for a, b in zip(ours, reference, strict=True)], reference)
    )
    return float(apart.norm() / whole.norm())


def first_sentence(message: str) -> str:
    """What an error says first, without its figures in brackets."""
    return re.split(r"(?<=[.;])\s| \[", message, maxsplit=1)[0].rstrip(".;") + "."


def notes(points: pd.DataFrame) -> list[str]:
    """What a reader of the tables must know."""
    kinds = "; ".join(f"{kind}: {KINDS[kind]}" for kind in dict.fromkeys(points["field"]))
    size = SIZES["cpu"]
    return [
        f"Of the preset cpu: {kinds}. Batch {size.batch}, float64, {size.steps} fixed steps of "
        f"every solver over [0, 1], four outputs; time: median of {size.repeats} solves with "
        "their backward pass, all methods in turn, one thread; memory: peak live tensor bytes. "
        f"Implicit methods solve the equations of their steps to {NEWTON:g}."
    ]


def report(results: Results) -> Drawn:
    """Ratios to backpropagation, errors, what cannot be, and two heat maps."""
    points = results.runs
    sheets = [
        Sheet(
            "time",
            table_of(points, "seconds", lambda value: f"{1e3 * value:.1f} ms"),
            "Time of a solve and its backward pass, over that of backpropagation",
            mark_best=False,
        ),
        Sheet(
            "memory",
            table_of(points, "peak_bytes", format_bytes),
            "Peak memory, over that of backpropagation",
            mark_best=False,
        ),
        Sheet(
            "error",
            matrix(points, "error", lambda value: f"{value:.0e}"),
            "Difference of the gradient from backpropagation's, relative",
            ["Exact methods differ by rounding; adjoint by the error of its own backward solve."],
            mark_best=False,
        ),
        Sheet("refused", refused(points), "What cannot be, and why", mark_best=False),
    ]
    figures = {
        name: (
            heat_map(points, value),
            f"{what} of a solve and its backward pass over {of} of backpropagation through the "
            "same steps, for every gradient method and solver, a panel for each field; hatched: "
            "the pair cannot be, or backpropagation cannot.",
        )
        for name, value, what, of in (
            ("time", "seconds", "Time", "that"),
            ("memory", "peak_bytes", "Peak memory", "that"),
        )
    }
    return Drawn([sheet for sheet in sheets if len(sheet.table)], figures)


def ratios(points: pd.DataFrame, value: str) -> pd.DataFrame:
    """The points with the ratio of a value to backpropagation's, NaN where there is none."""
    by = ["field", "solver"]
    base = where(points, points["gradient"] == BASE).set_index(by)[value]
    of_base = [base.get((p["field"], p["solver"]), np.nan) for p in points.to_dict("records")]
    return points.assign(ratio=points[value].to_numpy(dtype=float) / np.asarray(of_base, float))


def table_of(points: pd.DataFrame, value: str, told: Callable[[Any], str]) -> pd.DataFrame:
    """Ratios by field and solver; in the column of backpropagation its own values."""
    table = matrix(ratios(points, value), "ratio", lambda ratio: f"{ratio:.2f}")
    own = matrix(points, value, told)
    table[BASE] = own[BASE]
    return table


def matrix(points: pd.DataFrame, value: str, told: Callable[[Any], str]) -> pd.DataFrame:
    """A column as texts: rows are fields and solvers, columns gradient methods."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for point in points.to_dict("records"):
        number = point[value]
        row = rows.setdefault((str(point["field"]), str(point["solver"])), {})
        row[str(point["gradient"])] = MISSING if pd.isna(number) else told(number)
    index = pd.MultiIndex.from_tuples(rows, names=["field", "solver"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(GRADS))


def refused(points: pd.DataFrame) -> pd.DataFrame:
    """The reasons, each with the pairs that it is of."""
    if "why" not in points:
        return pd.DataFrame()
    bad = where(points, points["status"] != "ok")
    # One reason that names each one's solver is one reason.
    general = [
        why.replace(f"method={solver}", "method=SOLVER")
        for solver, why in zip(bad["solver"], bad["why"], strict=True)
    ]
    rows = [
        {
            "gradient": own["gradient"].iloc[0],
            "solvers": ", ".join(dict.fromkeys(own["solver"])),
            "fields": ", ".join(dict.fromkeys(own["field"])),
            "why": own["why"].iloc[0],
        }
        for _, own in bad.assign(why=general).groupby(["gradient", "why"], sort=False)
    ]
    return pd.DataFrame(rows).set_index("gradient")


def heat_map(points: pd.DataFrame, value: str) -> Figure:
    """Ratios to backpropagation's, by solver and gradient method; a panel for each field."""
    points = ratios(points, value)
    kinds = list(dict.fromkeys(points["field"]))
    solvers, grads = list(dict.fromkeys(points["solver"])), [g for g in GRADS if g != BASE]
    figure = new_figure(PAGE_WIDTH, 1.1 + 0.19 * len(solvers))
    panels = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for ax, kind in zip(panels, kinds, strict=True):
        own = where(points, points["field"] == kind).set_index(["solver", "gradient"])["ratio"]
        numbers = np.array([[own[solver, grad] for grad in grads] for solver in solvers], float)
        _panel(ax, numbers)
        ax.set_title(kind, fontsize=FONT_SIZE)
        ax.set_xticks(range(len(grads)), grads, rotation=90, fontsize=SMALL_FONT_SIZE)
        ax.set_yticks(range(len(solvers)), solvers, fontsize=SMALL_FONT_SIZE)
        ax.tick_params(length=0)
    return figure


_WIDEST = 16.0


def _panel(ax: Axes, numbers: np.ndarray) -> None:
    """Colours by the logarithm, each cell with its number; hatched where there is none."""
    shade = np.log(np.clip(numbers, 1 / _WIDEST, _WIDEST))
    norm = TwoSlopeNorm(0.0, -np.log(_WIDEST), np.log(_WIDEST))
    ax.imshow(shade, cmap="RdBu_r", norm=norm, aspect="auto")
    for (row, at), number in np.ndenumerate(numbers):
        if np.isnan(number):
            cell = Rectangle(
                (at - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", edgecolor="#B0B0B0", lw=0
            )
            ax.add_patch(cell)
        else:
            ink = "white" if abs(shade[row, at]) > 0.6 * np.log(_WIDEST) else "black"
            text = f"{number:.2f}" if number < 10 else f"{number:.0f}"
            ax.text(at, row, text, ha="center", va="center", fontsize=5, color=ink)


EXPERIMENT = AtOnce(
    name="zoo",
    purpose="Time, memory and exactness of every gradient method with every solver.",
    presets={name: partial(measured, name) for name in SIZES},
    seconds={"cpu": SECONDS},
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
