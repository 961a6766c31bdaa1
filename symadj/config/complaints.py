"""What OmegaConf objects to, in our words: which setting, what was given, what it must be."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import (
    BooleanNode,
    DictConfig,
    FloatNode,
    IntegerNode,
    ListConfig,
    Node,
    StringNode,
)
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException, ValidationError

from symadj.ranges import RANGES

_WANTED = {
    BooleanNode: "true or false",
    IntegerNode: "a whole number",
    FloatNode: "a number",
    StringNode: "a text",
    ListConfig: "a list",
    DictConfig: "a section, whose settings are given one by one",
}


def complaint(error: OmegaConfBaseException) -> str | None:
    """One sentence without its full stop; None where it is no matter of a single setting."""
    if isinstance(error, InterpolationKeyError):
        asked = re.search(r"'(.*?)'", str(error))
        return (
            f"{error.full_key or 'a setting'}=${{{asked[1] if asked else '...'}}}: there is no "
            "such setting to take the value from"
        )
    if not isinstance(error, ValidationError) or not error.full_key:
        return None
    key = re.sub(r"\[\d+\]", "", error.full_key)
    return f"{key}={shown(error.value)}; {wanted(key, error.child_node)}"


def wanted(key: str, node: object) -> str:
    """What a typed setting must be: its range where it is a number."""
    if key in RANGES:
        return f"{RANGES[key].meaning} must be {RANGES[key].allowed()}"
    words = next((text for kind, text in _WANTED.items() if isinstance(node, kind)), "another type")
    optional = isinstance(node, Node) and node._is_optional()
    return f"it must be {words}{', or null' if optional else ''}"


def shown(value: Any) -> str:
    """A value as it would be given."""
    if value is None:
        return "null"
    return repr(value) if isinstance(value, str) else str(value)
