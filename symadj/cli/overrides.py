"""Overrides of a command line: the settings they name, and the jobs of a sweep."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import OverrideParseException

from symadj.cli.explain import unreadable, wrong_choice
from symadj.errors import InputError
from symadj.run.configs import group_options


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
    """Raises `InputError` where an override names an option that its group does not have.

    Args:
        overrides: of the command line.
        extra: a further directory of configurations.
    """
    groups = group_options(extra)
    for override in parse(overrides):
        if problem := wrong_choice(override, groups):
            raise InputError(problem)


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The jobs of a sweep: every combination of the values given, the last one varying fastest.

    Raises:
        InputError: a sweep without end (`interval`), or an override that cannot be read.
    """
    choices: list[list[str]] = []
    for override in parse(overrides):
        if not override.is_sweep_override():
            choices.append([override.input_line or ""])
            continue
        if not override.is_discrete_sweep():
            raise InputError(
                f"{override.input_line}: a sweep needs a list of values: "
                f"{override.key_or_group}=A,B,C or range(0,3)."
            )
        key = override.get_key_element()
        choices.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    return [list(job) for job in itertools.product(*choices)]


def refuse_sweep(overrides: Sequence[str], command: str) -> None:
    """Raises `InputError` where one setting is given several values without `-m`."""
    for override in parse(overrides):
        if override.is_sweep_override():
            raise InputError(
                f"{override.input_line} names several values; a sweep over them needs -m: "
                f"{command} -m {' '.join(overrides)}"
            )
