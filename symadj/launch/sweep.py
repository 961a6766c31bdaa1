"""A sweep: its jobs one after the other, none of which can end it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from symadj.records.status import Status, status_of
from symadj.terminal import complain, say


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides and the configuration they compose to."""

    overrides: Sequence[str]
    config: DictConfig


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: of its record; `Status.RUNNING` where another process is at it, which is no failure.
        message: of its failure; empty where there is none.
        note: what else there is to say, such as where it was finished before.
    """

    status: Status
    message: str = ""
    note: str = ""

    @property
    def failed(self) -> bool:
        """Whether the job has failed."""
        return self.status.failed


def run_sweep(jobs: Sequence[Job], attempt: Callable[[Job], Outcome]) -> list[Outcome]:
    """Runs all jobs; a failed one is reported at once and the next one starts.

    Args:
        jobs: what to run.
        attempt: runs one job; whatever it raises is that job's failure.

    Raises:
        KeyboardInterrupt: Ctrl-C ends the sweep with the job in hand; its table is printed.
    """
    outcomes: list[Outcome] = []
    try:
        for number, job in enumerate(jobs, start=1):
            say(f"[{number}/{len(jobs)}] {' '.join(job.overrides)}")
            outcome = _caught(job, attempt)
            outcomes.append(outcome)
            if outcome.note:
                say(f"  {outcome.note}")
            if outcome.failed:
                what = f": {outcome.message}" if outcome.message else ""
                complain(f"job {number} of {len(jobs)} failed ({outcome.status}){what}")
            _let_go()
    finally:
        say(sweep_table(jobs, outcomes))
    return outcomes


def sweep_table(jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> str:
    """One line for every job: its status and its overrides."""
    counts = [
        (sum(outcome.status is Status.OK for outcome in outcomes), "ok"),
        (sum(outcome.failed for outcome in outcomes), "failed"),
    ]
    elsewhere = sum(outcome.status is Status.RUNNING for outcome in outcomes)
    counts += [(elsewhere, "running elsewhere")] if elsewhere else []
    lines = [f"sweep: {len(jobs)} jobs, {', '.join(f'{n} {what}' for n, what in counts)}"]
    for number, job in enumerate(jobs):
        status, note = "not run", ""
        if number < len(outcomes):
            status, note = outcomes[number].status, outcomes[number].note
        line = f"  {status:<13} {' '.join(job.overrides)}"
        lines.append(f"{line}  ({note})" if note else line)
    return "\n".join(lines)


def _caught(job: Job, attempt: Callable[[Job], Outcome]) -> Outcome:
    try:
        return attempt(job)
    except Exception as error:
        return Outcome(status_of(error), f"{type(error).__name__}: {error}")


def _let_go() -> None:
    """Frees what a job held, so that the next one's memory is its own."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
