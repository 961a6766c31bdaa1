"""The command line of an experiment that is measured in one process, a group after the other.

What is measured is kept: the same command goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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

Points = Iterable[dict[str, Any]]
Groups = Mapping[str, Callable[[], Points]]
"""By name, what measures the points that are kept together; none needs the points of another."""
KEPT = "records.part.json"
"""The groups that are measured, until all are."""


@dataclass(frozen=True)
class AtOnce:
    """A table or figure of points that are no runs of `symadj-train` or `symadj-bench`.

    Attributes:
        name: of the directory below results/, and the kind of its records.
        purpose: a line for `--help`.
        presets: by name, what says what is measured, with one thread; it is given the folder of
            the runs of what has to be trained first.
        seconds: that a preset takes, about, on one core; a preset that is missing: unknown.
        report: points -> tables and figures.
        notes: what a reader of the tables must know of the points.
    """

    name: str
    purpose: str
    presets: Mapping[str, Callable[[Path], Groups]]
    seconds: Mapping[str, float]
    report: Callable[[Results], Drawn]
    notes: Callable[[pd.DataFrame], Sequence[str]]


def main(experiment: AtOnce, argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status: 0, 2 for bad input, or 130: Ctrl-C."""
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
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on from here")
        return 130
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
    name = {"schema": SCHEMA, "kind": experiment.name, "preset": preset}
    out.mkdir(parents=True, exist_ok=True)
    kept = _kept(out / KEPT, name | {"environment": around})
    groups = experiment.presets[preset](out / "runs")
    for number, (group, measure) in enumerate(groups.items(), start=1):
        if group in kept:
            continue
        kept[group] = list(measure())
        text = json.dumps({**name, "environment": around, "groups": kept}, separators=(",", ":"))
        write_text(out / KEPT, text)
        say(f"{number}/{len(groups)} {group}: measured")
    head = name | {"missing": 0, "written": now(), "environment": around}
    points = (json.dumps(p, separators=(",", ":")) for group in groups for p in kept[group])
    lines = ",\n".join(points)
    text = json.dumps(head, indent=1)[:-2] + f',\n "points": [\n{lines}\n]\n}}\n'
    write_text(out / FILE, text)
    (out / KEPT).unlink(missing_ok=True)


def _kept(path: Path, head: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The groups that an interrupted call has measured.

    Args:
        path: of the file that it has left; none there: nothing.
        head: what it must say of itself. Where changes are not committed, nobody could say that
            the points are of this code.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        groups = found.pop("groups")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        say(f"{path} cannot be read ({error}): all is measured anew")
        return {}
    commit = head["environment"]["commit"]
    if found != head or commit is None or commit.endswith("-dirty"):
        say(
            f"{path} is of another preset, commit or machine, or of changes that are not "
            "committed: all is measured anew"
        )
        return {}
    many = len(groups) != 1
    told = "groups are measured already: they are" if many else "group is measured already: it is"
    say(f"{len(groups)} {told} kept")
    return groups


def _load(experiment: AtOnce, out: Path) -> Results:
    try:
        record = json.loads((out / FILE).read_text(encoding="utf-8"))
        points, around = pd.DataFrame(record["points"]), record["environment"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out / FILE} cannot be read ({error}); run the experiment.") from error
    notes = [*experiment.notes(points), *machine([around])]
    return Results(record.get("preset", "cpu"), points, notes)
