"""A sweep: its jobs one after the other, none of which can end it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from symadj.run.failure import status_of
from symadj.run.log import say


@dataclass(frozen=True)
class Job:
    """One run of a sweep: its overrides and the configuration they compose to."""

    overrides: Sequence[str]
    config: DictConfig


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        job: the job.
        status: of its record.
        message: of its failure; empty where there is none.
    """

    job: Job
    status: str
    message: str = ""


def run_sweep(
    jobs: Sequence[Job], run: Callable[[DictConfig, Sequence[str]], str]
) -> list[Outcome]:
    """Runs all jobs; a failed one is reported at once and the next one starts.

    Args:
        jobs: what to run.
        run: (configuration, overrides) -> status of the record.

    Raises:
        KeyboardInterrupt: Ctrl-C ends the sweep with the job in hand.
    """
    outcomes: list[Outcome] = []
    for number, job in enumerate(jobs, start=1):
        say(f"[{number}/{len(jobs)}] {' '.join(job.overrides)}")
        outcome = _attempt(job, run)
        outcomes.append(outcome)
        if outcome.status != "ok":
            what = f": {outcome.message}" if outcome.message else ""
            print(f"job {number} failed ({outcome.status}){what}", file=sys.stderr, flush=True)
        _let_go()
    return outcomes


def sweep_table(outcomes: Sequence[Outcome]) -> str:
    """One line for every job: its status and its overrides."""
    failed = sum(outcome.status != "ok" for outcome in outcomes)
    lines = [f"sweep: {len(outcomes)} jobs, {failed} failed"]
    lines += [f"  {o.status:<13} {' '.join(o.job.overrides)}" for o in outcomes]
    return "\n".join(lines)


def _attempt(job: Job, run: Callable[[DictConfig, Sequence[str]], str]) -> Outcome:
    try:
        return Outcome(job, run(job.config, job.overrides))
    except Exception as error:
        return Outcome(job, status_of(error), f"{type(error).__name__}: {error}")


def _let_go() -> None:
    """Frees what a job held, so that the next one's memory is its own."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
