"""A run's own configuration, to go on with it or to look at it: what may differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from symadj.config.compose import refuse_missing, resolved
from symadj.config.explain import COMPOSITION_ERRORS, explain, objections
from symadj.config.groups import composed, group_options
from symadj.config.overrides import parse, refuse_ignored, refuse_sweep, refuse_wrong_choices
from symadj.config.schema import SET_ANEW, Config, Role, below, leaves, role
from symadj.config.trust import check_trusted
from symadj.errors import InputError, suggest
from symadj.files import CONFIG, read_text

# A configuration is some kilobytes, of three levels or so.
_LARGEST, _DEEPEST = 2**18, 30
# A setting that trainings had once, of how a sweep starts them.
_RETIRED = "isolate"
_EXPERIMENT = "experiment"


def saved_config(directory: Path) -> Config:
    """The configuration that a run directory was made with.

    It is plain values: nothing in it refers to another part of the file, to the environment or to
    another file, and nothing is made of it here.

    Raises:
        InputError: no run directory, or no such configuration.
    """
    path = directory / CONFIG
    try:
        text = read_text(path, _LARGEST)
    except FileNotFoundError:
        raise InputError(
            f"{directory}: there is no {CONFIG}; give the directory of a run."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}).") from error
    try:
        problem = _more_than_values(text)
        config = None if problem else OmegaConf.to_container(OmegaConf.create(text))
    except (ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} cannot be read ({reason}).") from error
    if problem:
        raise InputError(f"{path} is no configuration that a run has written: {problem}.")
    if not isinstance(config, dict) or not config:
        raise InputError(f"{path} is no run's configuration.")
    if reference := _interpolation(config):
        raise InputError(
            f"{path} refers to {reference}, and nothing is looked up for it: a run writes its "
            "configuration with all values in place."
        )
    if "grads" not in config:  # a training's
        config.pop(_RETIRED, None)
    return {str(key): value for key, value in config.items()}


def check_same(saved: Config, config: Config, directory: Path) -> None:
    """Refuses a configuration that would not go on with the run it names.

    Args:
        saved: the run's own.
        config: what is to go on; it may differ in what is no part of the experiment.
        directory: of the run.

    Raises:
        InputError: the message says which settings differ.
    """
    old, new = leaves(saved), leaves(config)
    differ = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and role(key) is Role.EXPERIMENT
    ]
    if differ:
        raise InputError(
            f"resume={directory} was another run ({'; '.join(differ)}). Leave these settings out, "
            "or start a run of its own without resume."
        )


@objections()
def resumed_config(
    directory: Path, overrides: Sequence[str], trusted: Sequence[str], extra: Path | None = None
) -> Config:
    """The configuration of a run to go on with.

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
    changed, named = _overridden(saved, overrides, extra)
    config = {**resolved(changed), "resume": str(directory), "trust": list(trusted)}
    check_trusted(config, directory, named, trusted, extra)
    check_same(saved, config, directory)
    refuse_missing(changed)
    return config


@objections()
def looked_at_config(
    directory: Path,
    overrides: Sequence[str],
    trusted: Sequence[str],
    anew: Sequence[str] = SET_ANEW,
) -> Config:
    """The configuration of a run to look at.

    Args:
        directory: of the run.
        overrides: of the command line.
        trusted: modules that the run may name.
        anew: the settings that may be set anew.

    Raises:
        InputError: no run there, a setting that belongs to the training, or a run that names what
            is not trusted.
    """
    changed, named = _overridden(saved_config(directory), overrides)
    for key in named:
        if not any(below(key, name) for name in anew):
            raise InputError(
                f"{key} belongs to the training of {directory}; to be set anew here: "
                f"{', '.join(anew)}."
            )
    config = resolved(changed)
    check_trusted(config, directory, named, trusted)
    refuse_missing(changed)
    refuse_ignored(config, overrides)
    return config


def _overridden(
    saved: Config, overrides: Sequence[str], extra: Path | None = None
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
        chosen = composed("train", choices, extra)
    except COMPOSITION_ERRORS as error:
        raise InputError(explain(error, "train", choices, extra)) from error
    config, named = OmegaConf.create(dict(saved)), []
    for override in parsed:
        key = override.key_or_group
        if key not in groups:
            continue
        # An experiment sets many things at once: all of them count as named.
        for name in map(str, chosen) if key == _EXPERIMENT else [key]:
            OmegaConf.update(config, name, chosen[name], merge=False)
            named.append(name)
    for override in parsed:
        if override.key_or_group not in groups:
            named.append(_set(config, override))
    return config, named


def _set(config: DictConfig, override: Override) -> str:
    key, text = override.key_or_group, override.input_line or ""
    there = leaves(resolved(config))
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise InputError(f"{text}: the settings of a run are there already; write NAME=VALUE.")
    if not any(below(name, key) for name in there):
        raise InputError(f"unknown setting {key}.{suggest(key, there)}")
    OmegaConf.update(config, key, override.value(), merge=False)
    return key


def _more_than_values(text: str) -> str:
    """What stands in a yaml besides nested values; empty where nothing does.

    Aliases would let a small file stand for one of any size.
    """
    depth = 0
    for event in yaml.parse(text):
        if isinstance(event, yaml.AliasEvent):
            return f"it has an alias, *{event.anchor}"
        if not depth and isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent)):
            return "it is no mapping of names to values"
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return f"it is nested more than {_DEEPEST} levels deep"
    return ""


def _interpolation(value: Any) -> str:
    """The first value that stands for another one (${...}), or an empty text."""
    if isinstance(value, str):
        return value if "${" in value else ""
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    if not isinstance(inner, list):
        return ""
    return next(filter(None, map(_interpolation, inner)), "")
