"""A run's own configuration with what the command line sets anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict

from symadj.config.compose import compose, group_options, resolved
from symadj.config.explain import COMPOSITION_ERRORS, explain
from symadj.config.overrides import parse, refuse_ignored, refuse_sweep, refuse_wrong_choices
from symadj.config.roles import below
from symadj.config.saved import check_same, plain_leaves, saved_config
from symadj.config.trust import check_trusted
from symadj.errors import InputError, suggest
from symadj.run.trained import MAY_CHANGE

_EXPERIMENT = "experiment"


def resumed_config(
    directory: Path, overrides: Sequence[str], trusted: Sequence[str], extra: Path | None = None
) -> DictConfig:
    """The resolved configuration of a run to go on with.

    Args:
        directory: of the run.
        overrides: of the command line.
        trusted: modules that the run may name.
        extra: a further directory of configurations.

    Raises:
        InputError: nothing to resume there, a setting that must not differ, or a run that names
            what is not trusted.
    """
    try:
        saved = saved_config(directory)
    except InputError as error:
        raise InputError(f"resume={error}") from error
    config, named = overridden(saved, overrides, extra)
    with open_dict(config):
        config.resume, config.trust = str(directory), list(trusted)
    check_trusted(config, directory, named, trusted, extra)
    check_same(saved, config, directory)
    return resolved(config)


def looked_at_config(
    directory: Path, overrides: Sequence[str], trusted: Sequence[str]
) -> DictConfig:
    """The resolved configuration of a run to look at.

    Args:
        directory: of the run.
        overrides: of the command line.
        trusted: modules that the run may name.

    Raises:
        InputError: no run there, a setting that belongs to the training, or a run that names what
            is not trusted.
    """
    config, named = overridden(saved_config(directory), overrides)
    for key in named:
        if not any(below(key, name) for name in MAY_CHANGE):
            raise InputError(
                f"{key} belongs to the training of {directory}; to be set anew here: "
                f"{', '.join(MAY_CHANGE)}."
            )
    check_trusted(config, directory, named, trusted)
    config = resolved(config)
    refuse_ignored(config, overrides)
    return config


def overridden(
    saved: DictConfig, overrides: Sequence[str], extra: Path | None = None
) -> tuple[DictConfig, list[str]]:
    """A saved configuration with the overrides in it, and the dotted names of what they set.

    A choice of a group, or an experiment, is composed as for a new run; a single setting takes the
    place of the saved one.

    Raises:
        InputError: overrides that cannot be used.
    """
    refuse_sweep(overrides, "symadj-train")
    refuse_wrong_choices(overrides, extra)
    groups = group_options(extra)
    parsed = parse(overrides)
    choices = [o.input_line or "" for o in parsed if o.key_or_group in groups]
    try:
        composed = compose("train", choices, extra)
    except COMPOSITION_ERRORS as error:
        raise InputError(explain(error, "train", choices, extra)) from error
    config, named = saved.copy(), []
    for override in parsed:
        key = override.key_or_group
        if key not in groups:
            continue
        # An experiment sets many things at once: all of them count as named.
        for name in list(composed) if key == _EXPERIMENT else [key]:
            OmegaConf.update(config, str(name), composed[str(name)], merge=False)
            named.append(str(name))
    for override in parsed:
        if override.key_or_group not in groups:
            named.append(_set(config, override))
    return config, named


def _set(config: DictConfig, override: Override) -> str:
    key, text = override.key_or_group, override.input_line or ""
    there = plain_leaves(config)
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise InputError(f"{text}: the settings of a run are there already; write NAME=VALUE.")
    if not any(below(name, key) for name in there):
        raise InputError(f"unknown setting {key}.{suggest(key, there)}")
    OmegaConf.update(config, key, override.value(), merge=False)
    return key
