"""A benchmark from its configuration to its tables."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from symadj.bench.cases import Case, Group, groups
from symadj.bench.measure import Measurement, describe, measure, measure_job, reference_job
from symadj.bench.problem import BenchProblem, Reference
from symadj.bench.report import Measured, line_of, markdown, write_tables
from symadj.config.bench import BenchSettings, bench_settings
from symadj.config.build import build
from symadj.config.compose import to_yaml
from symadj.config.schema import Config
from symadj.errors import IncompatibleError, InputError
from symadj.files import CONFIG, RECORD, write_text
from symadj.records.environment import environment
from symadj.records.record import RunRecord
from symadj.records.status import Status, overall, story_of
from symadj.run.directory import check_name, make_run_directory, run_name
from symadj.run.interrupt import InterruptGuard
from symadj.run.process import run_isolated
from symadj.terminal import complain, say
from symadj.threads import given_threads


class NotInstalled(IncompatibleError):
    """A peer whose packages are not there."""


@dataclass
class BenchResult:
    """What a benchmark came to.

    Attributes:
        directory: where its tables, chart and records are.
        groups: what was measured, by problem.
    """

    directory: Path
    groups: list[Measured] = field(default_factory=list)

    @property
    def records(self) -> list[RunRecord]:
        """Of all rows."""
        return [record for group in self.groups for record in group.records]

    @property
    def status(self) -> Status:
        """Either "ok" (something was measured, no row failed by mistake) or "error"."""
        return overall(record.status for record in self.records)


def bench(
    config: Config,
    overrides: Sequence[str] = (),
    directory: Path | None = None,
    begun: Callable[[Path], object] = lambda directory: None,
) -> BenchResult:
    """Measures what the configuration says; prints the tables and leaves them in a directory.

    Args:
        config: composed by `symadj.config.bench.compose_bench`.
        overrides: what was asked for on the command line; only names the directory.
        directory: of a benchmark of the same configuration that was cut off: rows that have their
            result there are not measured again; None: a new one is made.
        begun: called with the directory before the first row.

    Returns:
        All records. A row that failed is a record with the status of its failure.

    Raises:
        InputError: a setting that cannot be used, before anything is measured.
        KeyboardInterrupt: after the tables of what was measured were written.
    """
    settings = bench_settings(config)
    todo = [_once_where_missing(group) for group in groups(config, settings)]
    problem = _check(todo, settings)
    if directory is None:
        name = settings.name or run_name(datetime.now(), overrides, settings.seed)
        directory = make_run_directory(Path(settings.out), check_name(name))
        write_text(directory / CONFIG, to_yaml(config))
    begun(directory)
    with InterruptGuard(), given_threads(settings.threads):
        return _Bench(settings, todo, problem, directory).execute()


class _Bench:
    """The order of what happens in a benchmark."""

    def __init__(
        self, settings: BenchSettings, todo: Sequence[Group], problem: BenchProblem, directory: Path
    ) -> None:
        self.problem = problem
        self.settings = settings
        self.todo = todo
        self.result = BenchResult(directory)
        self.total = sum(len(group.cases) for group in todo)
        self.done = 0

    def execute(self) -> BenchResult:
        """Measures group by group; whatever happens, the tables of what there is are written."""
        say(_header(self.problem, self.settings, self.result.directory))
        try:
            for group in self.todo:
                measured = Measured(group.title, self.settings)
                self.result.groups.append(measured)
                self._measure(group, measured)
        finally:
            self._report()
        return self.result

    def _measure(self, group: Group, measured: Measured) -> None:
        former = self._former(group)
        with tempfile.TemporaryDirectory(prefix="symadj-") as folder:
            installed = [c for c in group.cases if c.label not in former and not _missing(c)]
            reference = None
            if installed:
                reference = self._reference(group, measured, Path(folder) / "reference.pt")
            together = {} if self.settings.isolate else self._together(installed, reference)
            for case in group.cases:
                if case.label in former:
                    record = former[case.label]
                elif missing := _missing(case):
                    record = self._failed(case, Status.INCOMPATIBLE, story_of(missing))
                elif self.settings.isolate:
                    record = self._alone(case, reference, measured)
                else:
                    record = together[case.label]
                self._keep(group, measured, record)

    def _reference(self, group: Group, measured: Measured, path: Path) -> Path | None:
        """Writes the reference gradient for all rows of a group; None where there is none."""
        if not self.settings.compare:
            return None
        say(f"{group.title}: the reference gradient in float64")
        arguments = (group.neutral, self.settings, path)
        error = None
        if self.settings.isolate:
            limit = self.settings.time_limit
            error = run_isolated(reference_job, *arguments, time_limit=limit).error
        else:
            try:
                reference_job(*arguments)
            except Exception as failure:
                error = story_of(failure)
        if error is None:
            return path
        message = f"no gradient errors: the reference failed ({error['type']}: {error['message']})"
        measured.notes.append(message)
        complain(message)
        return None

    def _alone(self, case: Case, reference: Path | None, measured: Measured) -> RunRecord:
        """A row from a process of its own."""
        limit = self.settings.time_limit
        ending = run_isolated(measure_job, case, self.settings, reference, time_limit=limit)
        if ending.error is not None:
            return self._failed(case, ending.status, ending.error)
        record, messages = ending.value
        measured.warn(messages)
        return record

    def _failed(self, case: Case, status: Status, error: dict[str, Any]) -> RunRecord:
        measurement = Measurement.of(case)
        describe(measurement.record, self.problem, self.settings.isolate)
        measurement.fail(status, error)
        return measurement.finish()

    def _together(self, cases: Sequence[Case], reference: Path | None) -> dict[str, RunRecord]:
        loaded = Reference.load(reference) if reference else None
        return {record.grad: record for record in measure(cases, self.settings, loaded)}

    def _folder(self, group: Group, row: str) -> Path:
        return self.result.directory / "_".join(filter(None, (group.slug, row)))

    def _former(self, group: Group) -> dict[str, RunRecord]:
        """The results that the rows of a group have already, by their labels."""
        found = {}
        for case in group.cases:
            with contextlib.suppress(InputError):
                record = RunRecord.load(self._folder(group, case.slug) / RECORD)
                if record.is_result and record.error_type != "NotInstalled":
                    found[case.label] = record
        # Repetitions in turn are of all rows or of none.
        return found if self.settings.isolate or len(found) == len(group.cases) else {}

    def _keep(self, group: Group, measured: Measured, record: RunRecord) -> None:
        self.done += 1
        folder = self._folder(group, record.name.rpartition("/")[2].removeprefix(f"{group.slug}_"))
        record.name = f"{self.result.directory.name}/{folder.name}"
        measured.records.append(record)
        folder.mkdir(exist_ok=True)
        record.save(folder / RECORD)
        say(f"[{self.done}/{self.total}] {line_of(record)}")
        if record.error is not None:
            complain(f"  {record.error['message']}")

    def _report(self) -> None:
        measured = [group for group in self.result.groups if group.records]
        if measured:
            files = write_tables(measured, self.result.directory)
            say("\n" + markdown(measured, wide=False))
            say(f"written to {self.result.directory}: {', '.join(path.name for path in files)}")


def _check(todo: Sequence[Group], settings: BenchSettings) -> BenchProblem:
    """Refuses what can be refused before anything is measured; a problem, to tell what it is.

    Raises:
        InputError: a setting that cannot be used in any row.
    """
    problem, refused = None, None
    for group in todo:
        for case in group.cases:
            with contextlib.suppress(IncompatibleError):  # its row will say so
                build(case.config["solver"], "solver")
                build(case.config["grad"], "grad")
        try:
            problem = problem or BenchProblem.of(group.neutral, settings)
        except IncompatibleError as error:
            refused = error
    if problem is None:
        raise refused or InputError("nothing to measure.")
    return problem


def _header(problem: BenchProblem, settings: BenchSettings, directory: Path) -> str:
    parts, around = problem.parts, environment(problem.parts.device)
    how = "each row in a process of its own" if settings.isolate else "repetitions in turn"
    return "\n".join(
        [
            f"symadj-bench: {directory}",
            f"  data    {parts.data.name} ({parts.data.dim}-d): {parts.data.note}",
            f"  model   {type(parts.model).__name__}, {parts.parameter_count():,} parameters",
            f"  on      {around['device_name']}, {around['threads']} threads, "
            f"torch {around['torch']}, {problem.settings.dtype}",
            f"  how     {settings.repeats} timed evaluations after {settings.warmup}; {how}",
        ]
    )


def _once_where_missing(group: Group) -> Group:
    """The group with one row for each peer that is not installed, whatever it has to offer."""
    kept: dict[str, Case] = {}
    for case in group.cases:
        missing = case.peer is not None and _missing(case) is not None
        kept.setdefault(case.peer.package if missing and case.peer else case.label, case)
    return replace(group, cases=tuple(kept.values()))


def _missing(case: Case) -> NotInstalled | None:
    packages = case.peer.packages if case.peer else ()
    missing = [package for package in packages if find_spec(package) is None]
    if not missing:
        return None
    return NotInstalled(f"{missing[0]} is not installed: pip install 'symadj[peers]'")
