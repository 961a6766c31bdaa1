"""Measures cases: each for itself in a process of its own, or several in turn in one."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from symadj.bench.candidate import Candidate, TorchCandidate
from symadj.bench.cases import PRODUCTS, Case, Peer
from symadj.bench.gradients import relative_error
from symadj.bench.problem import BenchProblem, hide_formulas
from symadj.bench.products import ProductsCandidate
from symadj.bench.profile import seconds_by_part
from symadj.bench.reference import Reference
from symadj.bench.row import Row, describe
from symadj.ode.compiled import compile_seconds
from symadj.records.record import RunRecord
from symadj.threads import given_threads


@dataclass(frozen=True)
class Plan:
    """How each case is measured.

    Attributes:
        repeats: timed evaluations.
        warmup: evaluations before them.
        time_limit: seconds after which a case gets no more repetitions; None: none.
        isolate: whether each case has a process of its own.
        weights, autocast: as `BenchProblem.of` takes them.
        profile: whether symadj's own rows are profiled.
        converged: the tolerance of the gradient that stands for the exact solution's; None: none.
    """

    repeats: int = 5
    warmup: int = 1
    time_limit: float | None = None
    isolate: bool = True
    weights: str | None = None
    autocast: str | None = None
    profile: bool = False
    converged: float | None = None

    def problem(self, config: Mapping[str, Any]) -> BenchProblem:
        """The problem of a row's configuration."""
        return BenchProblem.of(config, self.weights, self.autocast)


def measure(cases: Sequence[Case], plan: Plan, reference: Reference | None) -> list[RunRecord]:
    """Measures cases in this process; their repetitions take turns.

    Args:
        cases: of one group.
        plan: how.
        reference: the gradient to compare with; None: gradients are not compared.

    Returns:
        A record for each case, failed or not.
    """
    rows = [Row.of(case) for case in cases]
    for row in rows:
        row.attempt(_prepare(plan))
        row.attempt(_meter)
    for _ in range(plan.repeats):
        for row in rows:
            if plan.time_limit is None or row.spent < plan.time_limit or not row.laps:
                row.attempt(_time)
    for row in rows:
        row.attempt(_compare(reference))
        if plan.profile and row.case.peer is None:
            row.attempt(_profile)
    return [row.finish() for row in rows]


def measure_job(argument: Mapping[str, Any]) -> dict[str, Any]:
    """`measure` for one case, as a job for `run_isolated`.

    Args:
        argument: as `job_of` makes it.

    Returns:
        {"record": its fields, "warnings": messages}.
    """
    peer = Peer(**argument["peer"]) if argument["peer"] else None
    case = Case(argument["label"], argument["config"], peer, argument["tangent"])
    path = argument["reference"]
    threads = given_threads(argument["config"]["threads"])
    with threads, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        reference = Reference.load(Path(path)) if path else None
        (record,) = measure([case], Plan(**argument["plan"]), reference)
    return {"record": asdict(record), "warnings": sorted({str(w.message) for w in caught})}


def job_of(case: Case, plan: Plan, reference: Path | None) -> dict[str, Any]:
    """The argument of `measure_job`."""
    return {
        "label": case.label,
        "config": case.config,
        "peer": asdict(case.peer) if case.peer else None,
        "tangent": case.tangent,
        "plan": asdict(plan),
        "reference": str(reference) if reference else None,
    }


def reference_job(argument: Mapping[str, Any]) -> None:
    """Computes a reference, as a job for `run_isolated`.

    Args:
        argument: "config" of any case of the group, "plan", and "path", the file to write.
    """
    plan = Plan(**argument["plan"])
    with given_threads(argument["config"]["threads"]):
        problem = plan.problem(argument["config"])
        Reference.of(problem, tolerance=plan.converged).save(Path(argument["path"]))


def _prepare(plan: Plan) -> Callable[[Row], None]:
    """Builds the problem, evaluates it without a clock, and counts."""

    def stage(row: Row) -> None:
        row.problem = problem = plan.problem(row.case.config)
        record = row.record
        describe(record, problem, plan.isolate)
        given = {"weights": plan.weights, "autocast": plan.autocast}
        record.model |= {name: value for name, value in given.items() if value is not None}
        for package in packages(row.case.peer):
            record.environment[package] = version(package)
        row.candidate = candidate = make_candidate(problem, row.case)
        before = compile_seconds()
        if problem.settings.measure.memory_budget is not None:
            # Before anything runs unmetered: what is over the budget may be over the machine's.
            _meter(row)
        for _ in range(plan.warmup):
            candidate.evaluate()
        if (compiling := compile_seconds() - before) > 0:
            record.seconds["compile"] = compiling
        counts = candidate.counts()
        record.evaluations, record.steps = counts.evaluations, counts.steps
        record.metrics["loss"] = candidate.loss

    return stage


def _meter(row: Row) -> None:
    """The peak memory of one evaluation, which is no timed one."""
    assert row.problem is not None
    assert row.candidate is not None
    settings = row.problem.settings
    compiled = settings.compile and row.case.peer is None
    meter = settings.measure.meter(row.problem.parts.device, compiled=compiled)
    if meter is not None and row.record.memory is None:
        row.record.memory = row.candidate.memory(meter)


def _time(row: Row) -> None:
    assert row.candidate is not None
    row.laps.append(row.candidate.evaluate())


def _profile(row: Row) -> None:
    """Where the seconds go, in evaluations that are neither timed nor metered."""
    assert row.candidate is not None
    parts = seconds_by_part(row.candidate.evaluate)
    row.record.metrics |= {f"profile/{part}": value for part, value in parts.items()}


def _compare(reference: Reference | None) -> Callable[[Row], None]:
    """The gradient of the last evaluation against the reference's, in both precisions."""

    def stage(row: Row) -> None:
        candidate, problem = row.candidate, row.problem
        assert candidate is not None
        assert problem is not None
        gradient = candidate.gradient()
        if reference is None or gradient is None:
            return
        true = reference
        if candidate.grids is not None and candidate.grids != reference.grids:
            # Rounding may turn a step's acceptance: the row's own steps are what counts.
            true = Reference.of(problem, candidate.grids)
        metrics = row.record.metrics
        metrics["gradient_error"] = relative_error(gradient, true.gradient)
        replayed = candidate.replayed(true.grids)
        metrics["gradient_error_float64"] = relative_error(replayed, true.gradient)
        if reference.converged is not None:
            error = relative_error(gradient, reference.converged)
            metrics["gradient_error_converged"] = error

    return stage


def packages(peer: Peer | None) -> tuple[str, ...]:
    """What a peer's figures depend on, by the names of its packages."""
    if peer is None:
        return ()
    return (peer.package, "jax") if peer.package == "diffrax" else (peer.package,)


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
    if peer == PRODUCTS:
        return ProductsCandidate(problem)
    from symadj.bench.peers.torchdiffeq_peer import TorchdiffeqCandidate

    return TorchdiffeqCandidate(problem, peer)
