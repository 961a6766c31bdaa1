"""The jobs of a sweep, each with its configuration, and what there is to say of them beforehand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from symadj.config.build import build
from symadj.config.overrides import ignored_settings
from symadj.config.schema import Config
from symadj.errors import InputError
from symadj.launch.job import Job
from symadj.launch.launcher import Launcher
from symadj.terminal import complain

SILENT = 2.0
"""Seconds after which, and from one line to the next, it says how far it is."""


def composed_jobs(
    choices: Sequence[Sequence[str]],
    kind: str,
    configuration: Callable[[Sequence[str]], Config],
) -> tuple[list[Job], Launcher]:
    """Composes all jobs, and their launcher, before the first one runs: a typo costs no training.

    Where that takes a while it says so on standard error, and likewise which settings have no
    effect in some of the jobs.

    Args:
        choices: the overrides of each job.
        kind: of the jobs.
        configuration: composes and checks one of them.

    Raises:
        InputError: a job that cannot be composed, or jobs with launchers of their own.
    """
    jobs: list[Job] = []
    launchers: list[Any] = []
    labels = _labels(choices)
    ignored: Counter[str] = Counter()
    said = time.monotonic()
    for job in choices:
        config = configuration(job)
        ignored.update(set(ignored_settings(config, job)))
        plain, launch = parted(config)
        launchers.append(launch["launcher"])
        jobs.append(Job(kind, plain, tuple(job), labels[len(jobs)]))
        if time.monotonic() - said > SILENT:
            said = time.monotonic()
            complain(f"checking the jobs of the sweep: {len(jobs):,} of {len(choices):,}")
    for key, count in sorted(ignored.items()):
        complain(
            f"{key} has no effect in {count} of {len(jobs)} jobs, whose solvers take steps of "
            "fixed length"
        )
    if any(launcher != launchers[0] for launcher in launchers):
        raise InputError("launcher is the sweep's own and cannot be swept over; give one value.")
    return jobs, build(launchers[0], "launcher")


def parted(config: Config) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a job, and those of what launches it: "launcher" and "search"."""
    plain = dict(config)
    return plain, {name: plain.pop(name, None) for name in ("launcher", "search")}


def _labels(choices: Sequence[Sequence[str]]) -> list[str]:
    """What tells each job from the others: its overrides without those that all of them have."""
    common = set(choices[0]).intersection(*choices[1:]) if len(choices) > 1 else set()
    return [" ".join(o for o in job if o not in common) or " ".join(job) for job in choices]
