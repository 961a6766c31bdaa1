"""Evaluations against the error of the solution, for step controllers: work-precision diagrams.

    python experiments/controllers.py --preset cpu   measure, then write results/controllers
    python experiments/controllers.py --dry-run      say how long that takes, measure nothing
    python experiments/controllers.py --redraw       tables and figures from the saved records

Forward solves in float64 of the six problems of `experiments/users` and of three classical ones, at
rtol = 1e-3 ... 1e-9 (the dearer networks: 2e-7; `--preset full`: all) and atol = rtol / 100, by
symadj's step control and that of torchdiffeq and diffrax. Nothing is timed. Needs
`pip install 'symadj[peers]'`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from controllers_problems import BATCHES, CLASSICAL, TITLES, problem_named
from controllers_report import relative, sheets, work_precision
from controllers_solves import DIFFRAX_STAGES, Diffrax, Row, by_torchdiffeq, ours, reference
from harness import Drawn, Results
from harness.at_once import AtOnce, Groups, main
from symadj.report.frames import where

SECONDS = 330.0  # of the preset cpu, about, on one core
SOLVERS = ("dopri5", "tsit5", "bosh3", "dop853")
CHEAP = ("latent", *CLASSICAL)
LOOSEST = -3.0


@dataclass(frozen=True)
class Preset:
    """What is solved.

    Attributes:
        problems: by name.
        apart: by how many powers of ten tolerances differ.
        tightest: log10 of the tightest rtol, for the networks but latent and for the other ones.
        bosh3: likewise for bosh3, whose order is 3.
    """

    problems: Sequence[str]
    apart: float
    tightest: tuple[float, float]
    bosh3: tuple[float, float]

    def tolerances(self, problem: str, solver: str) -> list[float]:
        """The values of rtol, from 1e-3 on."""
        ends = self.bosh3 if solver == "bosh3" else self.tightest
        count = round((LOOSEST - ends[problem in CHEAP]) / self.apart)
        return [float(f"{10 ** (LOOSEST - i * self.apart):.3g}") for i in range(count + 1)]


PRESETS = {
    "full": Preset(tuple(TITLES), 0.5, (-9.0, -9.0), (-7.0, -7.0)),
    "cpu": Preset(tuple(TITLES), 0.75, (-6.75, -9.0), (-5.25, -6.0)),
    "smoke": Preset(("latent", "lorenz"), 1.5, (-6.0, -6.0), (-4.5, -4.5)),
}


def measured(preset: str, _: Path) -> Groups:
    """All solves of a preset, problem by problem."""
    chosen = PRESETS[preset]
    return {name: partial(points_of, name, chosen) for name in chosen.problems}


def points_of(name: str, preset: Preset) -> Iterator[Row]:
    """All solvers, tolerances and controllers of a problem."""
    from symadj.bench.peers.diffrax_peer import precision

    problem = problem_named(name)
    exact = reference(problem)
    with precision(torch.float64):
        for solver in SOLVERS:
            diffrax = Diffrax(problem, solver) if solver in DIFFRAX_STAGES else None
            for tolerance in preset.tolerances(name, solver):
                rows = [
                    *ours(problem, exact, solver, tolerance),
                    *by_torchdiffeq(problem, exact, solver, tolerance),
                    *(diffrax.rows(exact, tolerance) if diffrax else ()),
                ]
                at = {"problem": name, "solver": solver, "tolerance": tolerance}
                yield from (at | row for row in rows)


def notes(points: pd.DataFrame) -> list[str]:
    """What a reader of the tables must know."""
    sizes = ", ".join(f"{name} {size}" for name, size in BATCHES.items())
    return [f"float64; {reached(points)}; atol = rtol / 100. Batches: {sizes}."]


def report(results: Results) -> Drawn:
    """The tables of comparisons, and two figures."""
    points = results.runs
    figures = {
        "work_precision": (
            work_precision(points),
            "Evaluations of the field in the forward solve over the error at the end, dopri5: a "
            "point for each tolerance, a panel for each problem.",
        ),
        "relative": (
            relative(points),
            "Evaluations at equal error against symadj's default controller, in percent; less than "
            "0 is fewer. A panel for each solver, a mark for each problem.",
        ),
    }
    return Drawn(sheets(points), figures)


def reached(points: pd.DataFrame) -> str:
    """The tightest tolerances, in words."""
    told = []
    for name in dict.fromkeys(points["problem"]):
        own = where(points, points["problem"] == name)
        ends = (where(own, own["solver"] == s)["tolerance"].min() for s in ("dopri5", "bosh3"))
        told.append("{} {:g} ({:g})".format(name, *ends))
    return f"rtol from 1e-3 to (bosh3: to) {', '.join(told)}"


EXPERIMENT = AtOnce(
    name="controllers",
    purpose="Evaluations against the error of the solution, for step controllers.",
    presets={name: partial(measured, name) for name in PRESETS},
    seconds={"cpu": SECONDS},
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
