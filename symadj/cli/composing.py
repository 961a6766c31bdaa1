"""The jobs of a sweep, each with its configuration, and what there is to say of them beforehand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from omegaconf import DictConfig

from symadj.config.overrides import ignored_settings
from symadj.launch.sweep import Job
from symadj.terminal import complain

SILENT = 2.0
"""Seconds after which, and from one line to the next, it says how far it is."""


def composed_jobs(
    choices: Sequence[Sequence[str]], configuration: Callable[[Sequence[str]], DictConfig]
) -> list[Job]:
    """Composes all jobs before the first one runs: a typo costs no training.

    Where that takes a while it says so on standard error, and likewise which settings have no
    effect in some of the jobs.

    Args:
        choices: the overrides of each job.
        configuration: composes and checks one of them.

    Raises:
        InputError: a job that cannot be composed.
    """
    jobs: list[Job] = []
    ignored: Counter[str] = Counter()
    said = time.monotonic()
    for job in choices:
        config = configuration(job)
        ignored.update(set(ignored_settings(config, job)))
        jobs.append(Job(job, config))
        if time.monotonic() - said > SILENT:
            said = time.monotonic()
            complain(f"checking the jobs of the sweep: {len(jobs):,} of {len(choices):,}")
    for key, count in sorted(ignored.items()):
        complain(
            f"{key} has no effect in {count} of {len(jobs)} jobs, whose solvers take steps of "
            "fixed length"
        )
    return jobs
