"""Hydra's complaints in our words: what was given, what is allowed, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from symadj.errors import suggest
from symadj.run.configs import compose, group_options, option_settings

# ValueError: a few mistakes (a list or null as a group's option) are met by Hydra's own checks.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError)


def explain(
    error: Exception, config_name: str, overrides: Sequence[str], extra: Path | None = None
) -> str:
    """Says what is wrong with overrides that could not be composed.

    The overrides are looked at one by one, since Hydra's own message names the place inside its
    machinery rather than the mistake.

    Args:
        error: what `compose` raised.
        config_name, overrides, extra: as given to `compose`.
    """
    if isinstance(error, OverrideParseException):
        return unreadable(error.override or "")
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = group_options(extra)
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in groups]
    try:
        base = compose(config_name, chosen, extra)
    except COMPOSITION_ERRORS:
        return _short(error)
    for override in parsed:
        if override.key_or_group not in groups and (
            problem := _wrong_setting(override, base, groups)
        ):
            return problem
    return _short(error)


def wrong_choice(override: Override, groups: dict[str, list[str]]) -> str | None:
    """What is wrong with the option that an override chooses of a group; None where nothing is.

    Hydra itself would merge several options of a group into one configuration without a word.
    """
    group = override.key_or_group
    if group not in groups or override.is_delete():
        return None
    value = override.value()
    if isinstance(value, str) and value not in groups[group]:
        return f"unknown {group}={value}.{suggest(value, groups[group])}"
    if not isinstance(value, str):
        choices = suggest("", groups[group])
        return f"{group}={override.get_value_string()}: one name is needed.{choices}"
    return None


def unreadable(override: str) -> str:
    """The message for an override that does not follow Hydra's grammar."""
    key, _, value = override.partition("=")
    hint = (
        f" Values with spaces, '=' or brackets need quotes: '{key}=\"{value}\"'." if value else ""
    )
    return f"cannot read the override {override!r}; write name=value.{hint}"


def _wrong_setting(
    override: Override, base: DictConfig, groups: dict[str, list[str]]
) -> str | None:
    key = override.key_or_group
    if override.is_add() or override.is_force_add() or key.partition(".")[0] == "hydra":
        return None
    at, node = "", base
    for part in key.replace("/", ".").split("."):
        # `in` of the node itself denies a setting that is still to be given (???).
        if not isinstance(node, DictConfig) or part not in node.keys():  # noqa: SIM118
            names = [str(name) for name in node] if isinstance(node, DictConfig) else []
            allowed = {name for name in names if not name.startswith("_")}
            elsewhere = _elsewhere(at.rstrip("."), part, groups)
            return f"unknown setting {at}{part}.{elsewhere or suggest(part, allowed)}"
        at, node = f"{at}{part}.", OmegaConf.select(base, f"{at}{part}")
    if override.is_delete():
        return None
    try:
        OmegaConf.update(base.copy(), key, override.value())
    except ValidationError as error:
        reason = str(error).partition("\n")[0]
        return f"{key}={override.get_value_string()}: {reason}."
    except OmegaConfBaseException:
        return None
    return None


def _elsewhere(group: str, name: str, groups: dict[str, list[str]]) -> str:
    """Where another option of the same group has the setting: that option was probably meant."""
    having = [o for o in groups.get(group, []) if name in option_settings(group, o)]
    return f" It is a setting of {group}={' or '.join(having)}: choose that too." if having else ""


def _short(error: Exception) -> str:
    lines = [str(error).partition("\n")[0].rstrip(".")]
    if error.__cause__ is not None and isinstance(error.__cause__, OmegaConfBaseException):
        lines.append(str(error.__cause__).partition("\n")[0].rstrip("."))
    return ": ".join(lines) + "."
