"""Stiff problems: what implicit methods save, what their exact gradients cost.

    python experiments/stiff.py --preset cpu   measure, then write results/stiff
    python experiments/stiff.py --dry-run      say how long that takes, measure nothing
    python experiments/stiff.py --redraw       tables and figures from the saved records

Van der Pol's oscillator, two chemical networks, the Cahn-Hilliard equation and a network with known
time scales, in float64: errors against SciPy's Radau at 1e-10 over evaluations and seconds, by
symadj's explicit and implicit methods, SciPy and diffrax; and the gradients of all methods through
the same solves. Needs `pip install 'symadj[peers]'`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from harness import Drawn, Results
from harness.at_once import AtOnce, Groups, main
from stiff_problems import PROBLEMS
from stiff_report import SHOWN_AT, sheets, verdicts, work_precision
from stiff_solves import Row, by_diffrax, by_scipy, by_symadj, gradients, reference


@dataclass(frozen=True)
class Preset:
    """What is solved.

    Attributes:
        problems: by name.
        tolerances: values of rtol.
        solvers: that gradients are taken through.
        repeats: timed solves of each.
    """

    problems: Sequence[str]
    tolerances: Sequence[float]
    solvers: Sequence[str]
    repeats: int


PRESETS = {
    "cpu": Preset(tuple(PROBLEMS), (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8), ("kvaerno5", "radau5"), 3),
    "smoke": Preset(("robertson",), (1e-3, SHOWN_AT), ("kvaerno5",), 1),
}


def measured(preset: str, _: Path) -> Groups:
    """All solves and gradients of a preset, problem by problem."""
    chosen = PRESETS[preset]
    return {name: partial(points_of, name, chosen) for name in chosen.problems}


def points_of(name: str, preset: Preset) -> Iterator[Row]:
    """All solves and gradients of a problem."""
    from symadj.bench.peers.diffrax_peer import precision

    problem = PROBLEMS[name]()
    exact = reference(problem)
    how = (problem, exact, preset.tolerances, preset.repeats)
    with precision(torch.float64):
        rows = [*by_symadj(*how), *by_scipy(*how), *by_diffrax(*how)]
    yield from ({"part": "solve", "problem": name} | row for row in rows)
    for solver in preset.solvers:
        rows = gradients(problem, solver, SHOWN_AT, preset.repeats)
        yield from ({"part": "gradient", "problem": name} | row for row in rows)


def notes(points: pd.DataFrame) -> Sequence[str]:
    """What a reader of the tables must know."""
    return ["float64, one thread.", *verdicts(points)]


def report(results: Results) -> Drawn:
    """Tables of solves and gradients, two diagrams of work over precision."""
    points = results.runs
    figures = {
        f"work_precision_{work}": (
            work_precision(points, work),
            f"{words} over the error of the solution, a point for each tolerance, a panel for each "
            "problem; grey: explicit methods, hollow: other software. An explicit method that is "
            "missing has reached the limit of steps.",
        )
        for work, words in (("evaluations", "Evaluations of f"), ("seconds", "Seconds of a solve"))
    }
    return Drawn(sheets(points), figures)


EXPERIMENT = AtOnce(
    name="stiff",
    purpose="Stiff problems: implicit methods and their exact gradients.",
    presets={name: partial(measured, name) for name in PRESETS},
    seconds={},
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
