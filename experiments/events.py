"""Learning through events: a bouncing ball, and a cart that is driven by a bang-bang control.

    python experiments/events.py               learn both, then write results/events
    python experiments/events.py --dry-run     say how long that takes, learn nothing
    python experiments/events.py --redraw      table and figure from the saved records

The ball: gravity, restitution and drag from the times and places of the first three impacts of 240
balls, observed with noise. The cart: x'' = u with u = -1 from (1, 0) until x + k v |v| = 0, then
u = 1 until it stands; k is learnt from the place where it comes to rest, which is the origin for
k = 1/2. Every gradient goes through the times of events (docs/events.md). Nothing is timed.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from harness import Drawn, Results, Sheet
from harness.at_once import AtOnce, Groups, main
from symadj import Event, Integrator, SolverSettings, odeint_event, solve
from symadj.data.physics.bouncing_ball import BouncingBallData
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import Style, dress
from symadj.models.bouncing_ball import BouncingBall
from symadj.report.frames import where
from symadj.tasks.impacts import Impacts

ITERATIONS = {"cpu": (100, 40), "smoke": (2, 2)}
SECONDS = {"cpu": 30.0}
BATCH, FINE = 8, 40
SETTINGS = SolverSettings(rtol=1e-6, atol=1e-8)
STYLES = {
    "truth": Style("#1A1A1A", "o", "", (0, None)),
    "before": Style("#56B4E9", "v", "", (0, (2.5, 1.5))),
    "learnt": Style("#C03A00", "s", "", (0, (5, 1.5))),
}
PANELS = ("a ball's height", "a cart's way to rest", "what is learnt, over the truth")
OPTIMUM = 0.5


def measured(preset: str, _: Path) -> Groups:
    """Paths before and after, and what was learnt in every iteration."""
    balls, carts = ITERATIONS[preset]
    return {"ball": partial(ball, balls), "cart": partial(cart, carts)}


def ball(iterations: int) -> Iterator[dict[str, Any]]:
    """The ball's numbers, learnt as `symadj-train experiment=bouncing_ball` does."""
    data, task, integrator = BouncingBallData(), Impacts(), Integrator(SETTINGS)
    model = BouncingBall().double()
    task.bind(data, model, integrator)
    shown = data.parts(data.test)[0][:1]
    yield from _flights("truth", BouncingBall(*data.truth.values()).double(), shown)
    yield from _flights("before", model, shown)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, betas=(0.8, 0.95))
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, iterations)
    generator = torch.Generator().manual_seed(0)
    for i in range(iterations + 1):
        for name, value in model.learnt.items():
            yield _number(name, i, value.item(), data.truth[name])
        optimizer.zero_grad()
        task.loss(model, data.sample_batch(BATCH, generator), integrator).backward()
        optimizer.step()
        scheduler.step()
    yield from _flights("learnt", model, shown)


def cart(iterations: int) -> Iterator[dict[str, Any]]:
    """The cart's k, learnt from where it comes to rest."""
    k = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([k], lr=0.5)
    for case, steps in (("before", 0), ("learnt", iterations)):
        for i in range(steps):
            yield _number("k", i, k.item(), OPTIMUM)
            optimizer.zero_grad()
            _drive(k)[1].backward()
            optimizer.step()
        yield from (_path("cart", case, x, v) for x, v in _drive(k)[0])
    yield _number("k", iterations, k.item(), OPTIMUM)


def _drive(k: Tensor) -> tuple[list[list[float]], Tensor]:
    """The way in the plane of place and velocity, and the squared place where the cart rests."""

    def under(force: float, y0: Tensor, t0: Tensor, g: Any) -> tuple[Tensor, Tensor]:
        def field(t: Tensor, y: Tensor) -> Tensor:
            return torch.stack([y[1], torch.full_like(y[1], force)])

        event_t, ys = odeint_event(field, y0, t0, event_fn=g)
        with torch.no_grad():
            times = torch.linspace(t0.item(), event_t.item(), FINE, dtype=torch.float64)
            path.extend(solve(field, y0, times).ys.tolist())
        return event_t, ys[1]

    path: list[list[float]] = []
    y = torch.tensor([1.0, 0.0], dtype=torch.float64)
    t = torch.zeros((), dtype=torch.float64)
    t, y = under(-1.0, y, t, lambda t, y: y[0] + k * y[1] * y[1].abs())
    _, y = under(1.0, y, t.detach(), lambda t, y: y[1])
    return path, y[0] ** 2


@torch.no_grad()
def _flights(case: str, model: BouncingBall, start: Tensor) -> Iterator[dict[str, Any]]:
    """The height of one ball over the time, until its third impact."""
    ground = Event(lambda t, y: y[:, 1], direction="falling")
    t, y = 0.0, start
    for _ in range(3):
        times = torch.linspace(0, 9, 9 * FINE, dtype=torch.float64)
        flight = solve(model, y, times, rtol=1e-8, atol=1e-8, events=ground)
        found = flight.at_event()
        for at, z in zip(times.tolist(), flight.ys[:, 0, 1].tolist(), strict=False):
            yield _path("ball", case, t + at, z)
        t, y = t + float(found.t[0]), found.ys[0].clone()
        yield _path("ball", case, t, 0.0)
        y[:, 1], y[:, 3] = 0.0, -model.learnt["restitution"] * y[:, 3]


def _path(what: str, case: str, x: float, y: float) -> dict[str, Any]:
    return {"what": what, "case": case, "x": x, "y": y}


def _number(name: str, iteration: int, value: float, truth: float) -> dict[str, Any]:
    return {"what": name, "iteration": iteration, "value": value, "truth": truth}


def report(results: Results) -> Drawn:
    """What was learnt beside the truth, and the paths."""
    points = results.runs
    learnt = where(points, points["iteration"].notna())
    names = list(dict.fromkeys(learnt["what"]))
    rows = {}
    for name in names:
        own = where(learnt, learnt["what"] == name).sort_values("iteration")
        first, last, truth = own["value"].iloc[0], own["value"].iloc[-1], own["truth"].iloc[0]
        rows[name] = {
            "at the start": f"{first:.4g}",
            "learnt": f"{last:.6g}",
            "truth": f"{truth:g}",
            "iterations": f"{own['iteration'].iloc[-1]:.0f}",
        }
    table = pd.DataFrame(rows).T
    table.index.name = "number"
    sheet = Sheet("events", table, "What is learnt through the times of events", mark_best=False)
    return Drawn([sheet], {"events": (figure_of(points, names), CAPTION)})


CAPTION = (
    "Left: the height of a ball that was not trained on, over its time. Middle: place and velocity "
    "of a cart under full force one way and then the other. Right: gravity, restitution and drag "
    "of the ball and the cart's k, over their true values."
)


def figure_of(points: pd.DataFrame, names: list[str]) -> Figure:
    """Two paths, and what was learnt over the iterations."""
    figure, axes = panel_grid(PANELS, height=2.4)
    for ax, what in zip(axes, ("ball", "cart"), strict=False):
        for case, style in STYLES.items():
            own = where(points, (points["what"] == what) & (points["case"] == case))
            if len(own):
                ax.plot(own["x"], own["y"], color=style.color, linestyle=style.dash, label=case)
    for name, marker in zip(names, "osv^", strict=True):
        own = where(points, points["what"] == name)
        ratio = own["value"] / own["truth"]
        every = max(1, math.ceil(len(own) / 8))
        axes[2].plot(
            own["iteration"], ratio, color="#7F7F7F", marker=marker, markevery=every,
            markersize=3, linewidth=1, label=name,
        )  # fmt: skip
    axes[2].axhline(1.0, color="#1A1A1A", linewidth=0.6)
    learnt = where(points, points["what"].isin(names))
    log_if_wide(axes[2], "y", learnt["value"] / learnt["truth"])
    axes[2].legend(fontsize=6, frameon=False)
    dress(axes[0], "time (s)", "height (m)", PANELS[0])
    dress(axes[1], "place x", "velocity v", PANELS[1])
    dress(axes[2], "iteration", "", PANELS[2])
    legend_above(figure, axes[:1], list(STYLES))
    return figure


def notes(points: pd.DataFrame) -> list[str]:
    """What a reader must know."""
    return [
        "float64, dopri5 (ball: rtol 1e-6, cart: 1e-7), gradient symplectic. Ball: 240 to train "
        f"on, batches of {BATCH}, times and places with noise of 0.01 s and m."
    ]


EXPERIMENT = AtOnce(
    name="events",
    purpose="Learning through the times of events: a bouncing ball and a bang-bang control.",
    presets={name: partial(measured, name) for name in ITERATIONS},
    seconds=SECONDS,
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
