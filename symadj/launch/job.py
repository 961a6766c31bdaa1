"""A job of a sweep: what it is, what makes it the same as another one, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from symadj.config.schema import leaves, role
from symadj.records.record import RunRecord, strict
from symadj.records.status import Status


@dataclass(frozen=True)
class Job:
    """One run of a sweep, as plain values that any process can be given.

    Attributes:
        kind: "train" or "bench".
        config: the resolved configuration of the run.
        overrides: what it was composed of; they name its directory.
        label: what tells it from the other jobs of its sweep.
        former: directories of earlier runs of it that are known.
        failures_count: whether a failure that the same command would meet again, such as a
            diverged solve, counts as done; otherwise such a run is gone on with.
        trial: of a search: the storage, the study and the number that its validations are
            reported to; None: the job belongs to no search.
    """

    kind: str
    config: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    label: str = ""
    former: tuple[str, ...] = ()
    failures_count: bool = False
    trial: tuple[str, str, int] | None = None

    @cached_property
    def identity(self) -> str:
        """Equal for jobs that are the same experiment."""
        return identity(self.kind, self.config)

    @property
    def out(self) -> Path:
        """The directory that its run's own is below."""
        return Path(self.config["out"])


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: of its record; `Status.RUNNING` where another process is at it, which is no failure.
        message: of its failure; empty where there is none.
        note: what else there is to say, such as where it was finished before.
        directory: of its run; empty where there is none.
        metrics: of its record.
        again: whether the same attempt may end otherwise: its process died, or memory ran out.
    """

    status: Status
    message: str = ""
    note: str = field(default="", compare=False)
    directory: str = field(default="", compare=False)
    metrics: Mapping[str, float] = field(default_factory=dict, compare=False)
    again: bool = field(default=False, compare=False)

    @property
    def failed(self) -> bool:
        """Whether the job has failed."""
        return self.status.failed

    @staticmethod
    def of(record: RunRecord, directory: Path | str = "", note: str = "") -> Outcome:
        """How a run ended, by its record."""
        # Not a budget, over which the same attempt would be once more.
        out_of_memory = record.error_type in ("MemoryError", "OutOfMemoryError", "RuntimeError")
        return Outcome(
            record.status,
            str((record.error or {}).get("message", "")),
            note,
            str(directory),
            record.metrics,
            again=record.status is Status.OUT_OF_MEMORY and out_of_memory,
        )


def identity(kind: str, config: Mapping[str, Any]) -> str:
    """A configuration as one text, equal for runs that are the same experiment.

    Where files are and how the run is started is no part of it (`symadj.config.schema.Role`), nor
    is what the solver says of compilation, where the run says the same.
    """
    kept = {key: value for key, value in leaves(config).items() if role(key).tells_runs_apart}
    if kept.get("solver.compile") == kept.get("compile"):
        kept.pop("solver.compile", None)
    return f"{kind} {json.dumps(strict(kept), sort_keys=True)}"
