"""Does one job, in whatever process a launcher has given it: skipped, gone on with, or begun."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from symadj.bench.run import bench
from symadj.config.compose import run_settings
from symadj.errors import InputError
from symadj.launch.index import Claim, FormerRun, claimed, runs_of
from symadj.launch.job import Job, Outcome
from symadj.records.record import close_record
from symadj.records.status import Status, status_of
from symadj.run.directory import in_use
from symadj.run.process import Ending
from symadj.run.train import run_directory, train


def run_job(job: Job, patience: float = 0.0) -> Outcome:
    """Does one job of a sweep, where it is not done already and no other process is at it.

    A run of the same settings below `out` counts: a finished one is skipped, a training that was
    cut off or failed goes on from its checkpoint, one that another process is at is left to it.
    What failed without a checkpoint is run anew, in a directory of its own, and so is everything
    with `fresh=true`.

    Args:
        job: to do.
        patience: seconds to wait for another process that is at it.

    Returns:
        How it ended; whatever it raises is that job's failure.

    Raises:
        KeyboardInterrupt: the job was asked to end, and has saved what it did.
    """
    deadline = time.monotonic() + patience
    while (outcome := _try(job)).status is Status.RUNNING and time.monotonic() < deadline:
        time.sleep(0.5)
    return outcome


def _try(job: Job) -> Outcome:
    try:
        if job.config.get("resume") is not None:
            raise InputError("resume goes on with one run; a sweep goes on with its own by itself.")
        with claimed(job) as claim:
            if claim is None:
                return Outcome(Status.RUNNING, note="another process is at it")
            return _claimed(job, claim)
    except Exception as error:
        status = status_of(error)
        again = status is Status.OUT_OF_MEMORY
        return Outcome(status, f"{type(error).__name__}: {error}", again=again)


def _claimed(job: Job, claim: Claim) -> Outcome:
    runs = _former(job)
    if (done := _finished(job, runs)) is not None:
        return done
    for run in runs:
        if in_use(run.directory):
            return Outcome(Status.RUNNING, note=f"another process is at it, in {run.directory}")
    return _KINDS[job.kind](job, claim, runs)


def finished_before(job: Job) -> Outcome | None:
    """How a job ended that is done already; None: it is not."""
    return _finished(job, _former(job))


def _former(job: Job) -> list[FormerRun]:
    """The runs that a job may skip or go on with."""
    return [] if job.config.get("fresh") else runs_of(job)


def _finished(job: Job, runs: list[FormerRun]) -> Outcome | None:
    done = [run for run in runs if run.done(job)]
    return done[-1].outcome(f"finished before: {done[-1].directory}") if done else None


def _train(job: Job, claim: Claim, runs: list[FormerRun]) -> Outcome:
    config, note = dict(job.config), ""
    former = next((run for run in reversed(runs) if run.can_go_on()), None)
    if former is not None:
        config["resume"] = str(former.directory)
        note = f"resumed: {former.directory}"
    directory = run_directory(config, run_settings(config), job.overrides)
    claim.register(directory)
    return Outcome.of(train(config, directory=directory, watch=_watch(job)), directory, note)


def _watch(job: Job) -> Callable[[int, float], bool] | None:
    """What follows the validations of a trial of a search."""
    if job.trial is None:
        return None
    from symadj.launch.search.watch import Watch  # Optuna is an extra

    return Watch(job.trial)


def _bench(job: Job, claim: Claim, runs: list[FormerRun]) -> Outcome:
    former = runs[-1].directory if runs else None
    note = f"resumed: {former}" if former else ""
    result = bench(job.config, job.overrides, former, claim.register)
    return Outcome(result.status, note=note, directory=str(result.directory))


_KINDS: Mapping[str, Callable[[Job, Claim, list[FormerRun]], Outcome]] = {
    "train": _train,
    "bench": _bench,
}


def died(job: Job, ending: Ending) -> Outcome:
    """How a job ended whose process could not say so; its record is completed."""
    assert ending.error is not None
    message = f"{ending.error['type']}: {ending.error['message']}"
    for run in runs_of(job) if job.kind == "train" else []:
        if not in_use(run.directory):
            close_record(run.directory, job.config, ending.status, ending.error)
    return Outcome(ending.status, message, again=True)
