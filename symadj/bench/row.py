"""A row of a benchmark while it is measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from symadj.bench.candidate import Candidate, Lap
from symadj.bench.cases import Case
from symadj.bench.problem import BenchProblem
from symadj.records.environment import environment
from symadj.records.record import RunRecord, now, quartiles
from symadj.records.status import Status, status_of, story_of


@dataclass
class Row:
    """A case while it is measured.

    Attributes:
        case: what is measured.
        record: what it came to so far.
        laps: the timed evaluations.
        spent: seconds in all.
    """

    case: Case
    record: RunRecord
    laps: list[Lap] = field(default_factory=list)
    spent: float = 0.0
    candidate: Candidate | None = None
    problem: BenchProblem | None = None

    @staticmethod
    def of(case: Case) -> Row:
        """A row of which nothing is known yet."""
        config = dict(case.config)
        return Row(
            case,
            RunRecord(
                name=case.slug,
                kind="bench",
                started=now(),
                config=config,
                solver=case.solver,
                grad=case.label,
                seed=int(config["seed"]),
                iterations=1,
            ),
        )

    @property
    def alive(self) -> bool:
        """Whether nothing has failed yet."""
        return self.record.error is None

    def attempt(self, stage: Callable[[Row], None]) -> None:
        """One stage of the measurement; a failure ends this row and no other."""
        if not self.alive:
            return
        started = time.perf_counter()
        try:
            stage(self)
        except Exception as error:
            self.fail(status_of(error), story_of(error))
        self.spent += time.perf_counter() - started

    def fail(self, status: Status, error: dict[str, Any]) -> None:
        """Ends the row with a failure; what it held is let go."""
        self.record.status, self.record.error = status, error
        self.candidate = self.problem = None

    def finish(self) -> RunRecord:
        """The record, complete."""
        record, laps = self.record, self.laps
        if self.alive:
            record.status = Status.OK
        parts = {
            "iteration": [lap.total for lap in laps],
            "forward": [lap.forward for lap in laps if lap.forward is not None],
            "backward": [lap.backward for lap in laps if lap.backward is not None],
        }
        record.seconds |= {name: quartiles(values) for name, values in parts.items()}
        record.seconds["total"] = self.spent
        record.finished = now()
        return record


def describe(record: RunRecord, problem: BenchProblem, isolated: bool) -> None:
    """Says in a record on what and where it was made."""
    parts = problem.parts
    data = parts.data
    sizes = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
    record.data = {"name": data.name, "dim": data.dim, "note": data.note, **sizes}
    record.model = {"name": type(parts.model).__name__, "parameters": parts.parameter_count()}
    record.environment = {**environment(parts.device), "isolated": isolated}
