"""Measures cases: each for itself in a process of its own, or several in turn in one."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from symadj.bench.candidate import Candidate, Lap, TorchCandidate
from symadj.bench.cases import Case
from symadj.bench.problem import BenchProblem, Reference, hide_formulas, relative_error
from symadj.bench.profile import seconds_by_part
from symadj.config.bench import BenchSettings
from symadj.ode.compiled import compile_seconds
from symadj.records.environment import environment
from symadj.records.record import RunRecord, now, quartiles
from symadj.records.status import Status, status_of, story_of
from symadj.threads import given_threads


@dataclass
class Measurement:
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
    def of(case: Case) -> Measurement:
        """A measurement of which nothing is known yet."""
        config = dict(case.config)
        return Measurement(
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

    def attempt(self, stage: Callable[[Measurement], None]) -> None:
        """One stage of the measurement; a failure ends this one and no other."""
        if not self.alive:
            return
        started = time.perf_counter()
        try:
            stage(self)
        except Exception as error:
            self.fail(status_of(error), story_of(error))
        self.spent += time.perf_counter() - started

    def fail(self, status: Status, error: dict[str, Any]) -> None:
        """Ends it with a failure; what it held is let go."""
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


def measure(
    cases: Sequence[Case], how: BenchSettings, reference: Reference | None
) -> list[RunRecord]:
    """Measures cases in this process; their repetitions take turns.

    Args:
        cases: of one group.
        how: repetitions, time limit and what else is the benchmark's own.
        reference: the gradient to compare with; None: gradients are not compared.

    Returns:
        A record for each case, failed or not.
    """
    measurements = [Measurement.of(case) for case in cases]
    for one in measurements:
        one.attempt(_prepare(how))
        one.attempt(_meter)
    for _ in range(how.repeats):
        for one in measurements:
            if how.time_limit is None or one.spent < how.time_limit or not one.laps:
                one.attempt(_time)
    for one in measurements:
        one.attempt(_compare(reference))
        if how.profile and one.case.peer is None:
            one.attempt(_profile)
    return [one.finish() for one in measurements]


def measure_job(
    case: Case, how: BenchSettings, reference: Path | None
) -> tuple[RunRecord, list[str]]:
    """`measure` for one case, in a process of its own.

    Args:
        case, how: as `measure` takes them.
        reference: the file of the gradient to compare with.

    Returns:
        The record, and the warnings.
    """
    threads = given_threads(case.config["threads"])
    with threads, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        loaded = Reference.load(reference) if reference else None
        (record,) = measure([case], how, loaded)
    return record, sorted({str(w.message) for w in caught})


def reference_job(config: Mapping[str, Any], how: BenchSettings, path: Path) -> None:
    """Computes the reference of a group's configuration and writes it to a file."""
    with given_threads(config["threads"]):
        problem = BenchProblem.of(config, how)
        Reference.of(problem, tolerance=how.converged).save(path)


def describe(record: RunRecord, problem: BenchProblem, isolated: bool) -> None:
    """Says in a record on what and where it was made."""
    parts = problem.parts
    data = parts.data
    sizes = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
    record.data = {"name": data.name, "dim": data.dim, "note": data.note, **sizes}
    record.model = {"name": type(parts.model).__name__, "parameters": parts.parameter_count()}
    record.environment = {**environment(parts.device), "isolated": isolated}


def _prepare(how: BenchSettings) -> Callable[[Measurement], None]:
    """Builds the problem, evaluates it without a clock, and counts."""

    def stage(one: Measurement) -> None:
        one.problem = problem = BenchProblem.of(one.case.config, how)
        record = one.record
        describe(record, problem, how.isolate)
        given = {"weights": how.weights, "autocast": how.autocast}
        record.model |= {name: value for name, value in given.items() if value is not None}
        for package in one.case.peer.packages if one.case.peer else ():
            record.environment[package] = version(package)
        one.candidate = candidate = make_candidate(problem, one.case)
        before = compile_seconds()
        if problem.settings.measure.memory_budget is not None:
            # Before anything runs unmetered: what is over the budget may be over the machine's.
            _meter(one)
        for _ in range(how.warmup):
            candidate.evaluate()
        if (compiling := compile_seconds() - before) > 0:
            record.seconds["compile"] = compiling
        counts = candidate.counts()
        record.evaluations, record.steps = counts.evaluations, counts.steps
        record.metrics["loss"] = candidate.loss

    return stage


def _meter(one: Measurement) -> None:
    """The peak memory of one evaluation, which is no timed one."""
    assert one.problem is not None
    assert one.candidate is not None
    settings = one.problem.settings
    compiled = settings.compile and one.case.peer is None
    meter = settings.measure.meter(one.problem.parts.device, compiled=compiled)
    if meter is not None and one.record.memory is None:
        one.record.memory = one.candidate.memory(meter)


def _time(one: Measurement) -> None:
    assert one.candidate is not None
    one.laps.append(one.candidate.evaluate())


def _profile(one: Measurement) -> None:
    """Where the seconds go, in evaluations that are neither timed nor metered."""
    assert one.candidate is not None
    parts = seconds_by_part(one.candidate.evaluate)
    one.record.metrics |= {f"profile/{part}": value for part, value in parts.items()}


def _compare(reference: Reference | None) -> Callable[[Measurement], None]:
    """The gradient of the last evaluation against the reference's, in both precisions."""

    def stage(one: Measurement) -> None:
        candidate, problem = one.candidate, one.problem
        assert candidate is not None
        assert problem is not None
        gradient = candidate.gradient()
        if reference is None or gradient is None:
            return
        true = reference
        if candidate.grids is not None and candidate.grids != reference.grids:
            # Rounding may turn a step's acceptance: the row's own steps are what counts.
            true = Reference.of(problem, candidate.grids)
        metrics = one.record.metrics
        metrics["gradient_error"] = relative_error(gradient, true.gradient)
        replayed = candidate.replayed(true.grids)
        metrics["gradient_error_float64"] = relative_error(replayed, true.gradient)
        if reference.converged is not None:
            error = relative_error(gradient, reference.converged)
            metrics["gradient_error_converged"] = error

    return stage


def make_candidate(problem: BenchProblem, case: Case) -> Candidate:
    """The method of a case on its problem.

    Raises:
        ImportError: a peer that is not installed.
        IncompatibleError: a peer that cannot solve this problem, or a model without tangents where
            they are not to be used.
    """
    peer = case.peer
    if peer is not None and peer.package == "diffrax":
        # XLA looks here for the number of its threads when it is first used.
        os.environ["NPROC"] = str(torch.get_num_threads())
        from symadj.bench.peers.diffrax_peer import DiffraxCandidate

        return DiffraxCandidate(problem, peer)
    if not case.tangent:
        hide_formulas(problem.parts.model)
    if peer is None:
        return TorchCandidate(problem)
    from symadj.bench.peers.torchdiffeq_peer import TorchdiffeqCandidate

    return TorchdiffeqCandidate(problem, peer)
