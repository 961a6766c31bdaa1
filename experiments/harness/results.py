"""What an experiment leaves: small records in one file, and the tables drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from harness.command import Command
from symadj import SolverSettings
from symadj.config.schema import role
from symadj.errors import InputError
from symadj.files import write_text
from symadj.launch.index import FormerRun
from symadj.records.environment import commit
from symadj.records.record import RunRecord, now, strict
from symadj.report.flatten import flatten
from symadj.report.write import to_markdown, write_figures, write_table
from symadj.terminal import say

FILE = "records.json"
CAPTIONS = "figures.md"
SCHEMA = 1
_ROWS = 101
KeptCell = tuple[dict[str, Any], dict[str, Any]]
"""A cell of records.json with its environment."""
_USUAL = {
    f"solver.{setting.name}": setting.default
    for setting in fields(SolverSettings)
    if setting.name not in ("method", "rtol", "atol")
}


@dataclass(frozen=True)
class Sheet:
    """A table as it is written.

    Attributes:
        stem: of its files.
        table: of `Cell`s of `symadj.report.cell`, or of texts.
        title: a line above it.
        notes: lines below it, before those that all tables have.
        mark_best: whether the best cell of each column is bold.
    """

    stem: str
    table: pd.DataFrame
    title: str = ""
    notes: Sequence[str] = ()
    mark_best: bool = True


@dataclass(frozen=True)
class Drawn:
    """The tables and figures of an experiment.

    Attributes:
        sheets: the tables.
        figures: by the stem of their files, alone or with a caption: what is on it, in a sentence
            or two. Data, scale, commit and machine are said below it for all figures of a folder.
    """

    sheets: Sequence[Sheet] = ()
    figures: Mapping[str, Figure | tuple[Figure, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Left:
    """What a command has left so far.

    Attributes:
        command: it.
        found: the run that is there; None: there is none that is done.
        fingerprint: of the command.
        kept: cells of records.json that are the command's, each with its environment.
    """

    command: Command
    found: FormerRun | None
    fingerprint: str
    kept: Sequence[KeptCell] = ()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to do."""
        return self.found is not None or bool(self.kept)


@dataclass(frozen=True)
class Results:
    """The records of an experiment.

    Attributes:
        preset: that was run.
        runs: one row per record, as `symadj.report.load.load_runs` gives it, with the labels of
            the commands as columns.
        notes: of the preset, of the machine, of what is missing and of what failed.
        tables: (labels, table) of the files that runs were asked for, such as roll-outs.
    """

    preset: str
    runs: pd.DataFrame
    notes: Sequence[str]
    tables: Sequence[tuple[Mapping[str, Any], pd.DataFrame]] = ()

    @staticmethod
    def load(folder: Path) -> Results:
        """Reads `records.json`.

        Raises:
            InputError: it is not there, or something else.
        """
        kept = _read(folder / FILE)
        rows, tables = [], []
        for command in kept["cells"]:
            around = kept["environments"][command["environment"]]
            labels = command["labels"]
            record = RunRecord(**command["record"], environment=around)
            named = {"data.name": labels["data"]} if "data" in labels else {}
            rows.append({**flatten(record), **labels, **named})
            if "table" in command:
                tables.append((labels, pd.DataFrame(command["table"], dtype=float)))
        runs = pd.DataFrame(rows)
        notes = [*kept["notes"], *machine(kept["environments"]), *_failures(runs)]
        if kept["missing"]:
            notes.append(f"Unfinished: {kept['missing']} commands were not run or ended early.")
        return Results(kept["preset"], runs, notes, tables)


def _read(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); run the experiment.") from error
    if not isinstance(kept, dict) or kept.get("schema") != SCHEMA or "cells" not in kept:
        raise InputError(f"{path} holds no records of an experiment of schema {SCHEMA}.")
    return kept


def seconds_taken(folder: Path, preset: str) -> dict[str, float]:
    """Seconds of each command that `records.json` has, by its name; without a training's test.

    Args:
        folder: of the results; none there: nothing.
        preset: whose commands they are; those of another one say nothing.
    """
    try:
        kept = _read(folder / FILE)
    except InputError:
        return {}
    took: dict[str, float] = {}
    for command in kept["cells"] if kept["preset"] == preset else ():
        if (total := command["record"]["seconds"].get("total")) is not None:
            slug = Command(command["command"], (), command["labels"]).slug
            took[slug] = took.get(slug, 0.0) + total
    return took


def former(folder: Path, preset: str) -> dict[str, list[KeptCell]]:
    """The cells of `records.json`, each with its environment, by the fingerprints of commands.

    Args:
        folder: of the results; none there: nothing.
        preset: whose cells they must be.

    Raises:
        InputError: they are of another preset, or of another commit than this checkout, so that
            they cannot stand beside what is measured now.
    """
    if not (folder / FILE).exists():
        return {}
    kept = _read(folder / FILE)
    if kept["preset"] != preset:
        raise InputError(
            f"{folder / FILE} holds the preset {kept['preset']}, not {preset}; give another --out."
        )
    here, commits = commit(), {around.get("commit") for around in kept["environments"]}
    if commits and (here is None or commits != {here}):
        there = ", ".join(sorted(map(str, commits)))
        raise InputError(
            f"{folder / FILE} is of commit {there}, and this is {here or 'no checkout of git'}: "
            "what one folder has must be of one commit. Check that one out, or give another --out."
        )
    found: dict[str, list[KeptCell]] = {}
    for cell in kept["cells"]:
        around = kept["environments"][cell["environment"]]
        found.setdefault(cell.get("fingerprint", ""), []).append((cell, around))
    return found


def save(
    folder: Path, preset: str, notes: Sequence[str], left: Iterable[Left], table: str | None = None
) -> None:
    """Writes `records.json`: what tables and figures need, and how to repeat it.

    Args:
        folder: where.
        preset: that was run.
        notes: of the preset.
        left: what the commands have left; cells that are kept are written again as they are.
        table: a file of each run that is kept, as `thinned` has it; None: none.
    """
    environments: list[dict[str, Any]] = []
    commands: list[dict[str, Any]] = []
    missing = 0
    for own in left:
        missing += not own.done
        for cell, around in own.kept or _cells(own, table):
            if around not in environments:
                environments.append(around)
            commands.append({**cell, "environment": environments.index(around)})
    head = {"schema": SCHEMA, "preset": preset, "written": now(), "notes": list(notes)}
    head |= {"missing": missing, "environments": environments}
    lines = ",\n".join(json.dumps(strict(command), separators=(",", ":")) for command in commands)
    text = json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n]\n}}\n'
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, text)


def _cells(left: Left, table: str | None) -> Iterator[KeptCell]:
    """A cell for each record of the run that is there, with its environment."""
    run, command = left.found, left.command
    for record in run.records if run else ():
        cell = {"labels": dict(command.labels), "command": command.kind}
        cell |= {"fingerprint": left.fingerprint, "record": trimmed(record)}
        if run and table and (run.directory / table).is_file():
            cell["table"] = thinned(pd.read_csv(run.directory / table))
        yield cell, {k: v for k, v in record.environment.items() if k != "command"}


def trimmed(record: RunRecord) -> dict[str, Any]:
    """A record without its environment, its traceback and settings that say nothing.

    Those are where it lay and how it was started, what is null or empty, and what is usual for the
    control of steps. Of a user's file only the name is kept.
    """
    kept = asdict(record)
    del kept["environment"]
    kept["config"] = _used(kept["config"])
    if kept["error"] is not None:
        kept["error"] = {name: kept["error"].get(name) for name in ("type", "message")}
    return kept


def _used(config: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    used = {}
    for name, value in config.items():
        key = f"{section}{name}"
        if value is None or value == [] or not role(key).tells_runs_apart:
            continue
        if key in _USUAL and value == _USUAL[key]:
            continue
        if key == "data.path":
            value = Path(str(value)).name
        used[name] = _used(value, f"{key}.") if isinstance(value, dict) else value
    return used


def thinned(table: pd.DataFrame) -> dict[str, list[float | None]]:
    """At most 101 rows, the first and last among them, to four digits.

    Of a history, the rows of its validations alone.
    """
    validated = [name for name in table if str(name).startswith("val_")]
    if validated:
        table = table.dropna(subset=validated)
    if table.empty:
        return {}
    step = max(1, math.ceil((len(table) - 1) / (_ROWS - 1)))
    chosen = table.iloc[sorted({*range(0, len(table), step), len(table) - 1})]
    return {str(name): [_rounded(v) for v in column] for name, column in chosen.items()}


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def draw(results: Results, drawn: Drawn, folder: Path) -> None:
    """Writes tables and figures and prints the tables."""
    for sheet in drawn.sheets:
        notes = [*sheet.notes, *results.notes]
        marks = {"title": sheet.title, "mark_best": sheet.mark_best}
        write_table(sheet.table, folder, sheet.stem, notes=notes, **marks)
        say(to_markdown(sheet.table, notes=sheet.notes, **marks))
    for note in results.notes:
        say(note)
    plain = {stem: f[0] if isinstance(f, tuple) else f for stem, f in drawn.figures.items()}
    write_figures(plain, folder)
    captions = {stem: f[1] for stem, f in drawn.figures.items() if isinstance(f, tuple)}
    if captions:
        write_text(folder / CAPTIONS, captioned(captions, results.notes))
    say(f"written to {folder}")


def captioned(captions: Mapping[str, str], notes: Sequence[str]) -> str:
    """The pictures of a folder, each with what is on it, and below what they have in common.

    Args:
        captions: by the stems of the pictures' files.
        notes: on data, scale, what is reduced, commit and machine.
    """
    parts = [
        f"![{stem}]({stem}.png)\n\n**{stem}**: {' '.join(text.split())}"
        for stem, text in captions.items()
    ]
    return "\n\n".join([*parts, *notes]) + "\n"


def machine(environments: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each machine and commit that records are from."""
    told = []
    for around in environments:
        threads = around.get("threads")
        told.append(
            f"Measured on {around.get('device_name')}, {threads} thread{'s' * (threads != 1)}, "
            f"torch {around.get('torch')}, symadj {around.get('commit') or around.get('symadj')}."
        )
    return list(dict.fromkeys(told))


def _failures(runs: pd.DataFrame) -> list[str]:
    if runs.empty or "error.message" not in runs:
        return []
    failed = runs.loc[runs["error.message"].notna(), ["grad", "data.name", "error.message"]]
    told = [f"{grad}, {data}: {message}" for grad, data, message in failed.to_numpy()]
    return list(dict.fromkeys(told))
