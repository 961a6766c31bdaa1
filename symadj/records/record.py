"""The record of a run: one JSON file that says what ran, on what, how it ended and what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from symadj.errors import InputError
from symadj.files import RECORD, read_text, write_text
from symadj.records.status import Status

SCHEMA = 1
# A record is some kilobytes; whatever is larger by far is something else.
LARGEST = 32 * 2**20


@dataclass
class RunRecord:
    """What a run leaves for tables and plots; see docs of each field's unit.

    Attributes:
        name: of the run directory.
        kind: "train" or "bench".
        status: how it ended. A run's first record says "interrupted", so that a run that was
            killed outright has left a true one.
        error: None, or type, message, details (of a `SolveError`) and traceback.
        started, finished: ISO 8601 with time zone; finished is None until the run ends.
        config: the resolved configuration.
        environment: versions, commit, device, processor, threads, operating system, command.
        data: name, dim, note, and the sizes of train, val, test.
        model: name and parameters (their number).
        solver, grad: names of the solver and of the gradient method.
        seed: of all random numbers.
        iterations: training iterations done.
        metrics: train/loss, val/nll, test/nll, test/bits_per_dim, ... in nats or bits.
        memory: None where not metered, else meter and bytes of the peak and of its parts; on many
            devices those of the process that needed most.
        seconds: median, q1, q3 and n of iteration, forward, backward and optimizer, without
            compilation; total; compile, where something was compiled.
        evaluations: forward, recomputed, with_graph, vjps: sums over all training iterations; on
            many devices, of the largest count of a process in each.
        steps: accepted and rejected: likewise.
        schema: version of this layout.
    """

    name: str
    kind: str = "train"
    status: Status = Status.INTERRUPTED
    error: dict[str, Any] | None = None
    started: str = ""
    finished: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    solver: str = ""
    grad: str = ""
    seed: int = 0
    iterations: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    memory: dict[str, Any] | None = None
    seconds: dict[str, Any] = field(default_factory=dict)
    evaluations: dict[str, int] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        self.status = Status(self.status)

    @property
    def error_type(self) -> str:
        """The type of the error that ended the run; empty where there was none."""
        return str((self.error or {}).get("type", ""))

    @property
    def is_result(self) -> bool:
        """Whether the same command would come to it again."""
        return self.status.counts or self.error_type == "TimeLimitExceeded"

    def to_json(self) -> str:
        """Strict JSON: an infinite or undefined number stands there as "inf", "-inf" or "nan"."""
        return json.dumps(strict(asdict(self)), indent=1, allow_nan=False) + "\n"

    @staticmethod
    def from_json(text: str) -> RunRecord:
        """Reads what `to_json` wrote.

        Raises:
            InputError: no JSON, another schema, a status that does not exist, or fields that are
                missing, unknown or of the wrong type.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"not a run record: no JSON ({error}).") from error
        if not isinstance(values, dict) or "schema" not in values:
            raise InputError("not a run record: no JSON object with a schema.")
        if values["schema"] != SCHEMA:
            raise InputError(f"run record of schema {values['schema']!r}; this symadj reads 1.")
        _check_fields(values)
        values["metrics"] = {k: _number(k, v) for k, v in values["metrics"].items()}
        return RunRecord(**values)

    def save(self, path: Path) -> None:
        """Writes the record so that a reader never meets half of it."""
        write_text(path, self.to_json())

    @staticmethod
    def load(path: Path) -> RunRecord:
        """Reads a record file.

        Raises:
            InputError: it cannot be read or is no record; the message names the file.
        """
        try:
            text = read_text(path, LARGEST)
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
        try:
            return RunRecord.from_json(text)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("name", "kind", "status", "started", "solver", "grad"), (str,)),
    **dict.fromkeys(("error", "memory"), (dict, type(None))),
    "finished": (str, type(None)),
    **dict.fromkeys(("config", "environment", "data", "model"), (dict,)),
    **dict.fromkeys(("metrics", "seconds", "evaluations", "steps"), (dict,)),
    **dict.fromkeys(("seed", "iterations", "schema"), (int,)),
}


def _check_fields(values: dict[str, Any]) -> None:
    names = {f.name for f in fields(RunRecord)}
    if missing := sorted(names - values.keys()):
        raise InputError(f"not a whole run record: {', '.join(missing)} missing.")
    if unknown := sorted(values.keys() - names):
        raise InputError(f"not a run record of schema {SCHEMA}: unknown {', '.join(unknown)}.")
    for name, types in _TYPES.items():
        if not isinstance(values[name], types):
            raise InputError(f"not a run record: {name} is {values[name]!r}.")
    if values["status"] not in set(Status) - {Status.RUNNING}:
        raise InputError(f"not a run record: status {values['status']!r} does not exist.")


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"not a run record: metric {name} is {str(value)[:40]}.") from error


def close_record(
    directory: Path, config: Mapping[str, Any], status: Status, error: dict[str, Any]
) -> RunRecord:
    """Writes down how a run ended that could not do so itself.

    A record that is finished, by an earlier sitting from which nothing new was saved, stays as it
    is on disk.

    Args:
        directory: of the run.
        config: its configuration.
        status: how it ended.
        error: as a record's.
    """
    path = directory / RECORD
    try:
        record = RunRecord.load(path)
    except InputError:
        record = RunRecord(
            name=directory.name, config=dict(config), seed=int(config["seed"]), started=now()
        )
    closed = record.finished is not None
    record.status, record.error, record.finished = status, error, now()
    if not closed:
        record.save(path)
    return record


def now() -> str:
    """The time as a record writes it: ISO 8601 with time zone."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def strict(value: Any) -> Any:
    """Plain values as strict JSON has them: infinite and undefined numbers as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [strict(item) for item in value]
    return value


def quartiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median, first and third quartile (linear interpolation) and size of a sample.

    An empty sample has None for the three.
    """
    if len(values) == 0:
        return {"median": None, "q1": None, "q3": None, "n": 0}
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": median, "q1": q1, "q3": q3, "n": len(values)}
