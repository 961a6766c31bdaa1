"""A search: its settings and ranges checked before the first trial, its trials run as a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from symadj.cli.composing import parted
from symadj.config.build import build, locate
from symadj.config.overrides import refuse_wrong_choices
from symadj.config.schema import Config, below, leaves, role
from symadj.config.space import Parameter, Value, experiment_text, searched
from symadj.errors import InputError
from symadj.launch.job import Job, Outcome
from symadj.launch.search.settings import SearchSettings
from symadj.launch.sweep import Sweep
from symadj.records.record import strict
from symadj.records.status import Status
from symadj.terminal import say

Configuration = Callable[[Sequence[str], Path | None], Config]


def run_search(
    overrides: Sequence[str], configuration: Configuration, extra: Path | None = None
) -> bool:
    """Runs a search, or what is left of it; whatever ends it, prints and draws where it stands.

    Args:
        overrides: of the command line.
        configuration: (overrides, further configurations) -> that of one run, checked.
        extra: a further directory of configurations.

    Returns:
        Whether it failed: a trial ended by a mistake, or none of all that have ended is a result.

    Raises:
        InputError: a setting or a range that cannot be used, before any training.
        KeyboardInterrupt: Ctrl-C ends the search with the trials in hand.
    """
    refuse_wrong_choices([o for o in overrides if o.startswith("search=")], extra)
    fixed, space = searched(overrides)

    def make(values: Mapping[str, Value]) -> Job:
        chosen = [parameter.override(values[parameter.key]) for parameter in space]
        plain, _ = parted(configuration([*fixed, *chosen], extra))
        return Job("train", plain, (*fixed, *chosen))

    first = {parameter.key: parameter.samples()[0] for parameter in space}
    _, launch = parted(configuration([*fixed, *(p.override(first[p.key]) for p in space)], extra))
    settings: SearchSettings = build(launch["search"], "search")
    settings.limit(space)
    job = make(first)
    metric = _metric(settings, [job, *_others(first, space, make)])
    launcher = build(launch["launcher"], "launcher")
    # Optuna is an extra, whose absence `settings` has complained of.
    from symadj.launch.search.results import leave
    from symadj.launch.search.source import Search

    train = job.config["train"]
    source = Search(
        settings,
        space,
        metric,
        _about(settings, metric, space, job),
        (min(train["eval_every"], train["steps"]), train["steps"]),
        make,
        job.out,
    )
    sweep = Sweep(source, launcher)
    try:
        sweep.run()
    finally:
        source.close()
        say(leave(source, lambda overrides, comment: experiment_text(overrides, comment, extra)))
    return _failed([outcome for _, outcome in sweep.ended])


def _failed(outcomes: Sequence[Outcome]) -> bool:
    """A diverged trial is a result of a search; one that ended by a mistake is not."""
    results = [outcome.status in (Status.OK, Status.PRUNED) for outcome in outcomes]
    mistakes = [outcome.failed and not outcome.status.counts for outcome in outcomes]
    return any(mistakes) or (bool(outcomes) and not any(results))


def _others(
    first: Mapping[str, Value], space: Sequence[Parameter], make: Callable[..., Job]
) -> list[Job]:
    """Jobs that between them have every value of a list and the ends of every range."""
    return [
        make({**first, parameter.key: value})
        for parameter in space
        for value in parameter.samples()[1:]
    ]


def _metric(settings: SearchSettings, jobs: Sequence[Job]) -> str:
    """The metric of the search, which all of its trials have."""
    found = dict.fromkeys(map(_monitor, jobs))
    if len(found) > 1:
        raise InputError(
            f"the tasks of this search are validated by {' and '.join(map(str, found))}, which "
            "cannot be compared; search with one task."
        )
    return settings.metric_of(next(iter(found)))


def _monitor(job: Job) -> str:
    task = job.config["task"]
    target: Any = locate(task["_target_"], "task")
    return target.monitor if hasattr(target, "monitor") else build(task, "task").monitor


def _about(
    settings: SearchSettings, metric: str, space: Sequence[Parameter], job: Job
) -> dict[str, Any]:
    """What two sittings of one search have in common, by plain values."""
    keys = [parameter.key.replace("/", ".") for parameter in space]
    common = {
        key: value
        for key, value in leaves(job.config).items()
        if role(key).tells_runs_apart and not any(below(key, name) for name in keys)
    }
    about = {
        **common,
        **{parameter.key: parameter.text for parameter in space},
        "search.metric": metric,
        "search.direction": settings.direction,
    }
    return json.loads(json.dumps(strict(about)))
