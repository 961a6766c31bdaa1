"""A configuration from a command line's overrides, as plain values; its typed sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf

from symadj.config.explain import COMPOSITION_ERRORS, explain, objections
from symadj.config.groups import composed
from symadj.config.overrides import refuse_guiding, refuse_wrong_choices
from symadj.config.schema import Config, RunSettings
from symadj.errors import InputError, suggest
from symadj.ranges import check_settings

AnySettings = TypeVar("AnySettings", bound=RunSettings)


def compose(config_name: str, overrides: Sequence[str] = (), extra: Path | None = None) -> Config:
    """The resolved configuration that a command line asks for; nothing is run.

    Args:
        config_name: "train", ... : a file of `symadj.config.groups.config_dir()`.
        overrides: Hydra overrides, such as "solver=tsit5" and "train.steps=10".
        extra: a further directory of configurations, searched first.

    Raises:
        InputError: overrides that cannot be composed, a setting that must be given and is not, or
            a value out of its range.
    """
    if config_name != "guide":
        refuse_guiding(overrides)
    refuse_wrong_choices(overrides, extra)
    try:
        made = composed(config_name, overrides, extra)
        refuse_missing(made)
        config = resolved(made)
    except COMPOSITION_ERRORS as error:
        raise InputError(explain(error, config_name, overrides, extra)) from error
    _check_numbers(config)
    return config


def resolved(config: DictConfig) -> Config:
    """A configuration as plain values, its interpolations replaced by what they stand for.

    Raises:
        omegaconf.errors.OmegaConfBaseException: an interpolation that stands for nothing.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def refuse_missing(config: DictConfig) -> None:
    """Raises `InputError` where a setting that must be given is not."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise InputError(
            f"{missing[0]} must be given and is not: {missing[0]}=VALUE."
            + (f" So must {', '.join(missing[1:])}." if missing[1:] else "")
        )


def to_yaml(config: Config) -> str:
    """A configuration as the text of a file."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(config)))


def run_settings(config: Config) -> RunSettings:
    """A configuration as the typed object, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    return typed(config, RunSettings)


@objections()
def typed(config: Config, schema: type[AnySettings]) -> AnySettings:
    """A configuration as an object of its schema, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    _refuse_unknown(config, schema)
    _check_numbers(config)
    settings: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), dict(config)))
    assert isinstance(settings, schema)
    settings.check()
    return settings


def _check_numbers(config: Config) -> None:
    """Raises `InputError` for a number out of its range, under its full key."""
    check_settings("", config)
    # The data take values from other sections, which are then named by those.
    for section, settings in sorted(config.items(), key=lambda entry: entry[0] == "data"):
        if isinstance(settings, Mapping):
            check_settings(section, settings)


def _refuse_unknown(config: Config, schema: type, section: str = "") -> None:
    """Raises `InputError` for a setting that the schema, or one of its sections, does not have."""
    known = {own.name: own.default_factory for own in fields(schema)}
    for name, value in config.items():
        if name not in known:
            raise InputError(f"unknown setting {section}{name}.{suggest(str(name), known)}")
        if is_dataclass(inner := known[name]) and isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{name}.")  # type: ignore[arg-type]
