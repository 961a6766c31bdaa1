"""The command line of an experiment that is measured in one go, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from harness.main import BAD_INPUT, OK, common_parser, told_duration, usual_folder
from harness.results import FILE, SCHEMA, Drawn, Results, draw, machine
from symadj.errors import InputError
from symadj.files import write_text
from symadj.records.environment import environment
from symadj.records.record import now
from symadj.terminal import complain, say

Points = list[dict[str, Any]]


@dataclass(frozen=True)
class AtOnce:
    """A table or figure of points that are no runs of `symadj-train` or `symadj-bench`.

    Attributes:
        name: of the directory below results/, and the kind of its records.
        purpose: a line for `--help`.
        presets: by name, what measures the points, one thread.
        seconds: that a preset takes, about, on one core; a preset that is missing: unknown.
        report: points -> tables and figures.
        notes: what a reader of the tables must know of the points.
    """

    name: str
    purpose: str
    presets: Mapping[str, Callable[[], Points]]
    seconds: Mapping[str, float]
    report: Callable[[Results], Drawn]
    notes: Callable[[pd.DataFrame], Sequence[str]]


def main(experiment: AtOnce, argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, or 2 for bad input."""
    name, purpose = experiment.name, experiment.purpose
    parser = common_parser(name, purpose, experiment.presets, "say how long it takes")
    arguments = parser.parse_args(argv)
    out: Path = arguments.out or usual_folder(name, arguments.preset)
    if arguments.dry_run:
        say(f"# {_duration(experiment, arguments.preset)}; results in {out}")
        return OK
    try:
        if not arguments.redraw:
            _measure(experiment, arguments.preset, out)
        results = _load(experiment, out)
        draw(results, experiment.report(results), out)
    except InputError as error:
        complain(f"{experiment.name}: {error}")
        return BAD_INPUT
    return OK


def _duration(experiment: AtOnce, preset: str) -> str:
    seconds = experiment.seconds.get(preset)
    if seconds is None:
        return "in all 1 command that nobody has timed"
    return f"in all {told_duration(seconds)} ({seconds:.0f} s)"


def _measure(experiment: AtOnce, preset: str, out: Path) -> None:
    torch.set_num_threads(1)
    around = {k: v for k, v in environment(torch.device("cpu")).items() if k != "command"}
    points = experiment.presets[preset]()
    head = {"schema": SCHEMA, "kind": experiment.name, "preset": preset, "missing": 0}
    head |= {"written": now(), "environment": around}
    lines = ",\n".join(json.dumps(point, separators=(",", ":")) for point in points)
    text = json.dumps(head, indent=1)[:-2] + f',\n "points": [\n{lines}\n]\n}}\n'
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / FILE, text)


def _load(experiment: AtOnce, out: Path) -> Results:
    try:
        record = json.loads((out / FILE).read_text(encoding="utf-8"))
        points, around = pd.DataFrame(record["points"]), record["environment"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out / FILE} cannot be read ({error}); run the experiment.") from error
    notes = [*experiment.notes(points), *machine([around])]
    return Results(record.get("preset", "cpu"), points, notes)
