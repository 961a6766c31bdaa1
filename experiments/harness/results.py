"""What an experiment leaves: small records in one file, and the tables drawn from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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
from symadj.records.record import RunRecord, now, strict
from symadj.report.flatten import flatten
from symadj.report.write import to_markdown, write_figures, write_table
from symadj.terminal import say

FILE = "records.json"
SCHEMA = 1
_ROWS = 101
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
    """The tables and figures of an experiment."""

    sheets: Sequence[Sheet] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)


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
        notes = [*kept["notes"], *_machine(kept["environments"]), *_failures(runs)]
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


def save(
    folder: Path,
    preset: str,
    notes: Sequence[str],
    found: Iterable[tuple[Command, FormerRun | None]],
    table: str | None = None,
) -> None:
    """Writes `records.json`: what tables and figures need, and how to repeat it.

    Args:
        folder: where.
        preset: that was run.
        notes: of the preset.
        found: the commands with what they left.
        table: a file of each run that is kept, as `thinned` has it; None: none.
    """
    environments: list[dict[str, Any]] = []
    commands: list[dict[str, Any]] = []
    missing = 0
    for command, left in found:
        missing += left is None
        for record in left.records if left else ():
            around = {k: v for k, v in record.environment.items() if k != "command"}
            if around not in environments:
                environments.append(around)
            kept = {"labels": dict(command.labels), "command": command.kind}
            kept["record"] = trimmed(record)
            kept["environment"] = environments.index(around)
            if left and table and (left.directory / table).is_file():
                kept["table"] = thinned(pd.read_csv(left.directory / table))
            commands.append(kept)
    head = {"schema": SCHEMA, "preset": preset, "written": now(), "notes": list(notes)}
    head |= {"missing": missing, "environments": environments}
    lines = ",\n".join(json.dumps(strict(command), separators=(",", ":")) for command in commands)
    text = json.dumps(head, indent=1)[:-2] + f',\n "cells": [\n{lines}\n]\n}}\n'
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / FILE, text)


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
    write_figures(drawn.figures, folder)
    say(f"written to {folder}")


def _machine(environments: Sequence[Mapping[str, Any]]) -> list[str]:
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
