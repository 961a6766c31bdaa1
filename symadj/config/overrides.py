"""Overrides of a command line: the settings they name, and the jobs of a sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep
from hydra.errors import OverrideParseException

from symadj.config.explain import unreadable, wrong_choice
from symadj.config.groups import GUIDE_GROUPS, group_options
from symadj.config.schema import Config, below
from symadj.errors import InputError
from symadj.ode.methods import IMPLICIT, SOLVERS

MOST_JOBS = 100_000

_OF_ADAPTIVE_STEPS = tuple(
    f"solver.{name}"
    for name in (
        *("rtol", "atol", "first_step", "max_step", "min_step"),
        *("safety", "min_factor", "max_factor", "pi_beta", "sync"),
    )
)


def parse(overrides: Sequence[str]) -> list[Override]:
    """Reads Hydra's override grammar.

    Raises:
        InputError: an override that does not follow it.
    """
    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise InputError(unreadable(error.override or "")) from error


def value_of(key: str, overrides: Sequence[str]) -> str | None:
    """The value that the overrides give to a setting; None where they give none, or null."""
    values = [o.value() for o in parse(overrides) if o.key_or_group == key]
    return None if not values or values[-1] is None else str(values[-1])


def refuse_wrong_choices(overrides: Sequence[str], extra: Path | None = None) -> None:
    """Raises `InputError` for an override that no configuration can be composed with.

    Args:
        overrides: of the command line.
        extra: a further directory of configurations.
    """
    groups = group_options(extra)
    for override in parse(overrides):
        if problem := wrong_choice(override, groups):
            raise InputError(problem)


def refuse_guiding(overrides: Sequence[str]) -> None:
    """Raises `InputError` for a goal or a way of guiding where nothing is guided."""
    for override in parse(overrides):
        if override.key_or_group.partition(".")[0] in GUIDE_GROUPS:
            raise InputError(
                f"{override.input_line}: goals and ways are settings of symadj-guide, which steers "
                "the samples of a trained run."
            )


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: every combination of the values given, the last one varying fastest.

    Raises:
        InputError: a sweep without end (`interval`) or without values, more than `MOST_JOBS` jobs,
            or an override that cannot be read.
    """
    choices: list[list[str]] = []
    jobs = 1
    for override in parse(overrides):
        if not override.is_sweep_override():
            choices.append([override.input_line or ""])
            continue
        if not override.is_discrete_sweep():
            raise InputError(
                f"{override.input_line}: a sweep needs a list of values: "
                f"{override.key_or_group}=A,B,C or range(0,3). To search a range, add search=tpe."
            )
        count = _count(override)
        jobs *= count
        if count == 0:
            raise InputError(f"{override.input_line}: this names no value, so there is no job.")
        if jobs > MOST_JOBS:
            raise InputError(
                f"{override.input_line}: {jobs:,} jobs are more than one sweep may have "
                f"({MOST_JOBS:,}). Name fewer values, or share them among several sweeps."
            )
        key = override.get_key_element()
        choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return [list(job) for job in itertools.product(*choices)]


def _count(override: Override) -> int:
    """The number of values that a sweep over one setting has.

    Raises:
        InputError: it has no end.
    """
    values = override.value()
    if not isinstance(values, RangeSweep):
        return len(list(override.sweep_string_iterator()))
    start, stop, step = (float(v or 0) for v in (values.start, values.stop, values.step))
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise InputError(
            f"{override.input_line}: range(START,STOP,STEP) needs finite numbers and a STEP that "
            "is not 0."
        )
    return max(0, math.ceil((stop - start) / step))


def refuse_ignored(config: Config, overrides: Sequence[str]) -> None:
    """Raises `InputError` where a setting is named that the steps of the solver pass by.

    Steps of fixed length follow no tolerance. With the adjoint method the backward solve may step
    otherwise, by a method or options of its own.

    Args:
        config: composed with the overrides.
        overrides: of the command line.
    """
    if ignored := ignored_settings(config, overrides):
        raise InputError(
            f"{ignored[0]} has no effect: the solver {config['solver']['method']} takes steps of "
            "fixed length here, which follow no error. Leave it out, or take an adaptive solver "
            "without solver.step_size, solver.num_steps and solver.grid."
        )


def ignored_settings(config: Config, overrides: Sequence[str]) -> list[str]:
    """The keys of `refuse_ignored`."""
    solver, grad = config.get("solver"), config.get("grad")
    if config.get("solvers") or not isinstance(solver, Mapping):
        return []
    if solver.get("method") not in SOLVERS:
        return []
    fixed = any(solver.get(name) is not None for name in ("step_size", "num_steps", "grid"))
    adaptive = SOLVERS[solver["method"]].error_order is not None and not fixed
    own = isinstance(grad, Mapping) and any(
        grad.get(name) is not None for name in ("method", "options")
    )
    if adaptive or own:
        return []
    named = [override.key_or_group.replace("/", ".") for override in parse(overrides)]
    # The equations of an implicit step are solved to a tolerance, whatever its length.
    heeded = ("solver.rtol", "solver.atol") if solver["method"] in IMPLICIT else ()
    return [key for key in named if key in _OF_ADAPTIVE_STEPS and key not in heeded]


def asks_for_search(overrides: Sequence[str]) -> bool:
    """Whether a sweep is a search.

    Raises:
        InputError: settings of a search without its sampler.
    """
    if value_of("search", overrides) is not None:
        return True
    for override in parse(overrides):
        if override.key_or_group.startswith("search."):
            raise InputError(f"{override.input_line}: choose what searches too: search=tpe.")
    return False


def refuse_launcher(overrides: Sequence[str]) -> None:
    """Raises `InputError` for settings of a launcher or a search where there is no sweep."""
    for override in parse(overrides):
        if below(override.key_or_group, "search"):
            raise InputError(
                f"{override.input_line}: a search takes many runs; add -m, or leave it out."
            )
        if below(override.key_or_group, "launcher"):
            raise InputError(
                f"{override.input_line}: a launcher starts the jobs of a sweep; add -m, or leave "
                "it out."
            )


def refuse_sweep(overrides: Sequence[str], command: str) -> None:
    """Raises `InputError` where one setting is given several values without `-m`."""
    for override in parse(overrides):
        if override.is_sweep_override():
            raise InputError(
                f"{override.input_line} names several values; a sweep over them needs -m: "
                f"{command} -m {' '.join(overrides)}"
            )
