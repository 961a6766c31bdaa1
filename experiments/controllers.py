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

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from controllers_problems import BATCHES, CLASSICAL, TITLES, problem_named
from controllers_report import relative, sheets, work_precision
from controllers_solves import DIFFRAX_STAGES, Diffrax, Row, by_torchdiffeq, ours, reference
from symadj.files import write_text
from symadj.records.environment import environment
from symadj.report.frames import where
from symadj.report.write import to_markdown, write_figures, write_table

SECONDS = 330  # about, on one core
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


def main(argv: Sequence[str] | None = None) -> None:
    """Measures where that is asked for, and writes tables and figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--out", type=Path, default=Path("results/controllers"))
    parser.add_argument("--dry-run", action="store_true", help="say how long it takes")
    parser.add_argument("--redraw", action="store_true", help="from the saved records alone")
    args = parser.parse_args(argv)
    if args.dry_run:
        print(f"# in all about {round(SECONDS / 60)} min ({SECONDS} s); results in {args.out}")
        return
    path = args.out / "records.json"
    if not args.redraw:
        text = measured(args.preset)
        args.out.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    write_all(json.loads(path.read_text(encoding="utf-8")), args.out)


def measured(preset: str) -> str:
    """All solves of a preset, as a file."""
    torch.set_num_threads(1)
    around = environment(torch.device("cpu"))
    points = [p for name in PRESETS[preset].problems for p in points_of(name, PRESETS[preset])]
    head = {"schema": 1, "kind": "controllers", "preset": preset, "missing": 0}
    text = json.dumps({**head, "environment": around}, indent=1)[:-2]
    lines = ",\n".join(json.dumps(point, separators=(",", ":")) for point in points)
    return f'{text},\n "points": [\n{lines}\n]\n}}\n'


def points_of(name: str, preset: Preset) -> list[Row]:
    """All solvers, tolerances and controllers of a problem."""
    from symadj.bench.peers.diffrax_peer import precision

    started = time.process_time()
    problem = problem_named(name)
    exact = reference(problem)
    points = []
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
                points += [at | row for row in rows]
    print(f"{name}: {time.process_time() - started:.0f} s of the processor", flush=True)
    return points


def write_all(record: dict[str, Any], out: Path) -> None:
    """Tables and figures from records."""
    points, around = pd.DataFrame(record["points"]), record["environment"]
    sizes = ", ".join(f"{name} {size}" for name, size in BATCHES.items())
    setting = (
        f"float64; {reached(points)}; atol = rtol / 100. Batches: {sizes}. "
        f"torch {around['torch']}, symadj {around['commit']}."
    )
    for sheet in sheets(points, [setting]):
        write_table(sheet.table, out, sheet.stem, title=sheet.title, notes=sheet.notes)
        print(to_markdown(sheet.table, title=sheet.title, notes=sheet.notes))
    figures = {"work_precision": work_precision(points), "relative": relative(points)}
    write_figures(figures, out)


def reached(points: pd.DataFrame) -> str:
    """The tightest tolerances, in words."""
    told = []
    for name in dict.fromkeys(points["problem"]):
        own = where(points, points["problem"] == name)
        ends = (where(own, own["solver"] == s)["tolerance"].min() for s in ("dopri5", "bosh3"))
        told.append("{} {:g} ({:g})".format(name, *ends))
    return f"rtol from 1e-3 to (bosh3: to) {', '.join(told)}"


if __name__ == "__main__":
    main()
