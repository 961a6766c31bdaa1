"""Going on with a training that was cut off: what must be there, and what may differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from symadj.config.roles import Role, leaves, role
from symadj.errors import InputError
from symadj.files import CONFIG, read_text

# A configuration is some kilobytes, of three levels or so.
_LARGEST, _DEEPEST = 2**18, 30


def saved_config(directory: Path) -> DictConfig:
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
        config = None if problem else OmegaConf.create(text)
    except (ValueError, yaml.YAMLError, OmegaConfBaseException, RecursionError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path} cannot be read ({reason}).") from error
    if problem:
        raise InputError(f"{path} is no configuration that a run has written: {problem}.")
    if not isinstance(config, DictConfig) or not config:
        raise InputError(f"{path} is no run's configuration.")
    if reference := _interpolation(OmegaConf.to_container(config, resolve=False)):
        raise InputError(
            f"{path} refers to {reference}, and nothing is looked up for it: a run writes its "
            "configuration with all values in place."
        )
    return config


def check_same(saved: DictConfig, config: DictConfig, directory: Path) -> None:
    """Refuses a configuration that would not go on with the run it names.

    Args:
        saved: the run's own.
        config: what is to go on; it may differ in what is no part of the experiment.
        directory: of the run.

    Raises:
        InputError: the message says which settings differ.
    """
    old, new = plain_leaves(saved), plain_leaves(config)
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


def plain_leaves(config: DictConfig) -> dict[str, Any]:
    """Every setting of a configuration by its full key, its interpolations resolved."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return leaves(plain)


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
