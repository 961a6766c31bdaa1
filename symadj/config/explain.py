"""What cannot be composed, in our words: what was given, what is allowed, what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import (
    BooleanNode,
    DictConfig,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    OmegaConf,
    StringNode,
)
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, ValidationError

from symadj.config.groups import composed, group_options, option_settings
from symadj.config.schema import leaves
from symadj.errors import InputError, suggest
from symadj.ranges import RANGES

# ValueError, TypeError: a few mistakes (a list as a group's option) are met by Hydra's own code.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, ValueError, TypeError)

_WANTED = {
    BooleanNode: "true or false",
    IntegerNode: "a whole number",
    FloatNode: "a number",
    StringNode: "a text",
    ListConfig: "a list",
    DictConfig: "a section, whose settings are given one by one",
}


def explain(
    error: Exception, config_name: str, overrides: Sequence[str], extra: Path | None = None
) -> str:
    """Says what is wrong with overrides that could not be composed.

    The overrides are looked at one by one, since Hydra's own message names the place inside its
    machinery rather than the mistake.

    Args:
        error: what `composed` raised.
        config_name, overrides, extra: as given to `composed`.
    """
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OverrideParseException):
        return unreadable(error.override or "")
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    groups = group_options(extra)
    chosen = [o.input_line or "" for o in parsed if o.key_or_group in groups]
    try:
        base = composed(config_name, chosen, extra)
    except COMPOSITION_ERRORS as cause:
        return _in_our_words(cause)
    for override in parsed:
        if override.key_or_group not in groups and (
            problem := _wrong_setting(override, base, groups)
        ):
            return problem
    return _in_our_words(error)


def wrong_choice(override: Override, groups: dict[str, list[str]]) -> str | None:
    """What is wrong with an override whatever it is applied to; None where nothing is.

    Hydra itself would merge several options of a group into one configuration without a word, take
    whole sections away, or set what only its own launcher reads.
    """
    key, line = override.key_or_group, override.input_line
    name = key.replace("/", ".")
    if override.is_delete():
        return (
            f"{line}: nothing can be taken out of a configuration. Give the setting another value "
            f"({name}=VALUE, null where that is allowed), or choose another option of its group."
        )
    if name.partition(".")[0] == "hydra":
        return (
            f"{line}: no setting of Hydra's own has an effect here. The directory of a run is "
            "named by name=NAME and out=DIR, further configurations by --config-dir DIR."
        )
    if override.package is not None:
        return f"{line}: a group is chosen by {key}=NAME, without '@'."
    if key not in groups:
        return None
    value = override.value()
    if override.is_add():
        return f"{line}: the group {key} is there; choose its option by {line[1:] if line else ''}."
    if isinstance(value, str) and value not in groups[key]:
        return f"unknown {key}={value}.{suggest(value, groups[key])}"
    if not isinstance(value, str):
        choices = suggest("", groups[key])
        return f"{key}={override.get_value_string()}: one name is needed.{choices}"
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
    key = override.key_or_group.replace("/", ".")
    if override.is_force_add():
        return None
    if override.is_add():
        there = OmegaConf.select(base, key, default=_NOT_THERE) is not _NOT_THERE
        return f"+{key}: that setting is there; write {key}=VALUE." if there else None
    at, node = "", base
    for part in key.split("."):
        if not isinstance(node, DictConfig):
            section = at.rstrip(".")
            return f"{key}: {section} is one setting and has none below it; write {section}=VALUE."
        # `in` of the node itself denies a setting that is still to be given (???).
        if part not in node.keys():  # noqa: SIM118
            hint = _elsewhere(at.rstrip("."), part, groups) or _near(at, part, node, base)
            return f"unknown setting {at}{part}.{hint}"
        at, node = f"{at}{part}.", _select(base, f"{at}{part}")
    try:
        OmegaConf.update(base.copy(), key, override.value())
    except OmegaConfBaseException as error:
        objection = (
            _complaint(error) or f"{key}={override.get_value_string()}; {_wanted(key, node)}"
        )
        return f"{objection}."
    return None


_NOT_THERE = object()


def _select(base: DictConfig, key: str) -> object:
    """What stands at a key; None where it has no value yet or cannot be resolved."""
    try:
        return OmegaConf.select(base, key)
    except OmegaConfBaseException:
        return None


def _near(at: str, part: str, node: DictConfig, base: DictConfig) -> str:
    """The setting that was probably meant: of this name elsewhere, or of a name that is near."""
    if not at and (same := [key for key in _settings(base) if key.rpartition(".")[2] == part]):
        return f" Did you mean {' or '.join(same)}?"
    return suggest(part, {str(name) for name in node if not str(name).startswith("_")})


def _settings(base: DictConfig) -> list[str]:
    """The full keys of all single settings, those without a value yet among them."""
    plain = OmegaConf.to_container(base, resolve=False)
    assert isinstance(plain, dict)
    return [key for key in leaves(plain) if not key.rpartition(".")[2].startswith("_")]


def _elsewhere(group: str, name: str, groups: dict[str, list[str]]) -> str:
    """Where another option of the same group has the setting: that option was probably meant."""
    having = [o for o in groups.get(group, []) if name in option_settings(group, o)]
    return f" It is a setting of {group}={' or '.join(having)}: choose that too." if having else ""


def _in_our_words(error: Exception) -> str:
    """What no single override explains: a configuration file of a user's own, most likely."""
    for cause in (error, error.__cause__):
        if isinstance(cause, OmegaConfBaseException) and (words := _complaint(cause)):
            return f"{words}."
    lines = [str(error).partition("\n")[0].rstrip(".")]
    if isinstance(error.__cause__, OmegaConfBaseException):
        lines.append(str(error.__cause__).partition("\n")[0].rstrip("."))
    return f"the configuration cannot be put together: {': '.join(lines)}."


@contextmanager
def objections() -> Iterator[None]:
    """Raises `InputError` with what OmegaConf objects to."""
    try:
        yield
    except OmegaConfBaseException as error:
        reason = _complaint(error) or f"it cannot be used: {str(error).partition(chr(10))[0]}"
        raise InputError(f"{reason}.") from error


def _complaint(error: OmegaConfBaseException) -> str | None:
    """What OmegaConf objects to: which setting, what was given, what it must be.

    One sentence without its full stop; None where it is no matter of a single setting.
    """
    if isinstance(error, InterpolationKeyError):
        asked = re.search(r"'(.*?)'", str(error))
        return (
            f"{error.full_key or 'a setting'}=${{{asked[1] if asked else '...'}}}: there is no "
            "such setting to take the value from"
        )
    if not isinstance(error, ValidationError) or not error.full_key:
        return None
    key = re.sub(r"\[\d+\]", "", error.full_key)
    return f"{key}={_shown(error.value)}; {_wanted(key, error.child_node)}"


def _wanted(key: str, node: object) -> str:
    """What a typed setting must be: its range where it is a number."""
    if key in RANGES:
        return f"{RANGES[key].meaning} must be {RANGES[key].allowed()}"
    words = next((text for kind, text in _WANTED.items() if isinstance(node, kind)), "another type")
    optional = isinstance(node, Node) and node._is_optional()
    return f"it must be {words}{', or null' if optional else ''}"


def _shown(value: Any) -> str:
    """A value as it would be given."""
    if value is None:
        return "null"
    return repr(value) if isinstance(value, str) else str(value)
