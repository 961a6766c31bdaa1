"""A record as one flat row: dotted names, plain values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from symadj.config.schema import role
from symadj.records.record import RunRecord
from symadj.terminal import printable

Value = str | int | float | bool | None
FlatRecord = dict[str, Value]

_LONG_TEXTS = ("error.traceback", "schema")
_NUMERIC = ("metrics.", "memory.", "seconds.", "evaluations.", "steps.")
# What ended a run, where that says more than its status.
_ENDED_BY = {
    "NotInstalled": "not installed",
    "TimeLimitExceeded": "time limit",
    "ProcessKilled": "killed",
    "ProcessCrashed": "crashed",
}
# How a record's strict JSON writes the floats that JSON does not have.
_SPECIAL = ("inf", "-inf", "nan")


def flatten(record: RunRecord) -> FlatRecord:
    """All of a record but its traceback, by dotted names; `failure` is what `failure_of` says.

    A run that ended before its parts were made has no names of data, model, solver and gradient
    method; they are taken from its configuration, so that its failure stands in the right cell.
    """
    row = {
        printable(name): _value(name, value)
        for name, value in _leaves("", vars(record))
        if name not in _LONG_TEXTS
    }
    for name, value in _names_from_config(row).items():
        if not row.get(name):
            row[name] = value
    return {**row, "failure": failure_of(record)}


def failure_of(record: RunRecord) -> str:
    """What a table shows in place of a figure, in a word or two; empty for a run that went well."""
    kind = record.error_type
    return _ENDED_BY.get(kind) or record.status.text


def share_data_names(rows: list[FlatRecord]) -> None:
    """Names the data of rows that lack it (in place) after rows that were configured alike."""
    named = {_data_section(row): row["data.name"] for row in rows if row.get("data.name")}
    for row in rows:
        if not row.get("data.name"):
            known = named.get(_data_section(row))
            row["data.name"] = known or row.get("config.data.name") or _class(row, "data").lower()


def _leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield prefix, value
        return
    for key, item in value.items():
        yield from _leaves(f"{prefix}.{key}" if prefix else str(key), item)


def _value(name: str, value: Any) -> Value:
    if isinstance(value, list):
        return json.dumps(value)
    if isinstance(value, str) and value in _SPECIAL and name.startswith(_NUMERIC):
        return float(value)
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int) and abs(value) >= 2**63:
        return float(value)
    return value


def _names_from_config(row: FlatRecord) -> FlatRecord:
    return {
        "grad": _class(row, "grad").lower(),
        "solver": row.get("config.solver.method"),
        "model.name": _class(row, "model"),
    }


def _class(row: FlatRecord, group: str) -> str:
    return str(row.get(f"config.{group}._target_") or "").rpartition(".")[2]


def _data_section(row: FlatRecord) -> tuple[tuple[str, str], ...]:
    # The seed of the split is the run's own; it does not make other data of it.
    items = ((k.removeprefix("config."), v) for k, v in row.items() if k.startswith("config.data."))
    told = ((k, v) for k, v in items if role(k).tells_runs_apart and not k.endswith(".seed"))
    return tuple(sorted((key, repr(value)) for key, value in told))
