"""Makes the object that a group's yaml describes: `_target_` and the constructor's arguments."""

from __future__ import annotations

import importlib
import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from symadj.errors import InputError, suggest
from symadj.ranges import check_settings

_NOTHING = re.compile(r"(?!)")


def build(
    node: Mapping[str, Any],
    key: str,
    offered: Mapping[str, Any] | None = None,
    **given: Any,
) -> Any:
    """Calls `node._target_` with the node's other entries, `given`, and what it takes of `offered`.

    Ranges, names and simple types of the arguments are checked first, against `symadj.ranges` and
    the constructor's signature; what else the constructor objects to it says itself, and its
    arguments are named by their full keys then.

    Args:
        node: the group's configuration.
        key: its name in the configuration, for messages ("solver").
        offered: arguments that the target gets where it has one of that name which the node
            leaves out or null (a model's `dim`, from the data).
        given: arguments that come from elsewhere.

    Raises:
        InputError: no such target, unknown or missing argument, wrong type, a value that the
            target does not take.
    """
    if not isinstance(node, Mapping) or not isinstance(node.get("_target_"), str):
        raise InputError(
            f"{key} has no _target_ and so names nothing to make; choose an option of the group: "
            f"{key}=NAME."
        )
    target = locate(node["_target_"], key)
    settings = {name: value for name, value in node.items() if name != "_target_"}
    taken = {k: v for k, v in _accepted(target, offered or {}).items() if settings.get(k) is None}
    settings = {name: value for name, value in settings.items() if name not in taken}
    given |= taken
    check_settings(key, node)
    checked = check_arguments(target, settings, key, given=given)
    try:
        return target(**checked, **given)
    except InputError as error:
        error.args = (with_full_keys(str(error), key, settings),)
        raise


def with_full_keys(message: str, key: str, settings: Mapping[str, Any]) -> str:
    """A constructor's message, which names its arguments, with the keys that they are set by.

    Args:
        message: such as "rtol=-1; ...".
        key: of the section, such as "solver".
        settings: of the section; those that are sections themselves have their names replaced too.
    """
    keys = {str(name): f"{key}.{name}" for name in settings}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            keys = {str(inner): f"{key}.{name}.{inner}" for inner in value} | keys
    # A name without an underscore may be an ordinary word too, where no "=" follows.
    names = [re.escape(n) + (r"(?!\w)" if "_" in n else "(?==)") for n in keys if n != "_target_"]
    pattern = re.compile(rf"(?<![\w.])({'|'.join(names)})") if names else _NOTHING
    return pattern.sub(lambda found: keys[found[1]], message)


def locate(path: str, key: str) -> Callable[..., Any]:
    """Imports what the `_target_` of a group names.

    Raises:
        InputError: nothing of this name, or nothing that can be called.
    """
    return imported(path, f"{key}._target_")


def imported(path: str, setting: str) -> Callable[..., Any]:
    """Imports the class or function of a dotted path, which this setting names.

    Raises:
        InputError: nothing of this name, or nothing that can be called.
    """
    module_name, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{setting}={path}: cannot be imported ({error}).") from error
    if not callable(found):
        raise InputError(f"{setting}={path}: is no class or function.")
    return found


def check_arguments(
    target: Callable[..., Any],
    settings: Mapping[str, Any],
    key: str,
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings as the target takes them: lists as tuples where it wants tuples.

    Raises:
        InputError: as `build`.
    """
    parameters = inspect.signature(target).parameters
    hints = _hints(target)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    checked = {}
    for name, value in settings.items():
        if name not in parameters and not open_ended:
            allowed = [p for p in parameters if p not in given]
            raise InputError(f"unknown setting {key}.{name}.{suggest(name, allowed)}")
        hint = hints.get(name, Any)
        if not _conforms(value, hint):
            raise InputError(f"{key}.{name}={value!r}; it must be {_describe(hint)}.")
        checked[name] = _as_tuple(value, hint)
    for name, parameter in parameters.items():
        needed = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if needed and name not in checked and name not in given:
            raise InputError(f"{key}.{name} must be given and is not: {key}.{name}=VALUE.")
    return checked


def _accepted(target: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """What of `offered` the target has arguments for."""
    parameters = inspect.signature(target).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return dict(offered)
    return {name: value for name, value in offered.items() if name in parameters}


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except (NameError, TypeError):
        # Annotations that only a type checker can read: the constructor checks for itself.
        return {}


def _union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _options(hint: Any) -> Sequence[Any]:
    """The types of a union that a yaml can hold; where it can hold none of them, all."""
    options = get_args(hint)
    return [option for option in options if not _conforms(object(), option)] or options


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a value from a yaml fits a type; True where the type is none that yaml knows."""
    if _union(hint):
        return any(_conforms(value, option) for option in _options(hint))
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if hint is None or hint is type(None):
        return value is None
    if hint is bool or hint is str:
        return isinstance(value, hint)
    if hint is Path:
        return isinstance(value, str)
    if hint is int or hint is float:
        number = int if hint is int else (int, float)
        return isinstance(value, number) and not isinstance(value, bool)
    if origin in (tuple, list, Sequence) or hint in (tuple, list):
        elements = [a for a in get_args(hint) if a is not Ellipsis]
        return isinstance(value, (list, tuple)) and all(
            _conforms(v, elements[min(i, len(elements) - 1)]) if elements else True
            for i, v in enumerate(value)
        )
    if origin in (dict, Mapping) or hint is dict:
        return isinstance(value, Mapping)
    return True


def _as_tuple(value: Any, hint: Any) -> Any:
    options = get_args(hint) if _union(hint) else (hint,)
    wanted = any(get_origin(option) is tuple or option is tuple for option in options)
    return tuple(value) if wanted and isinstance(value, list) else value


def _describe(hint: Any) -> str:
    texts = {str: "a text", Path: "a text"}
    names = texts | {int: "a whole number", float: "a number", bool: "true or false"}
    if _union(hint):
        return " or ".join(_describe(option) for option in _options(hint))
    if hint is None or hint is type(None):
        return "null"
    origin = get_origin(hint)
    if origin is Literal:
        return " or ".join(repr(a) for a in get_args(hint))
    if origin in (tuple, list, Sequence):
        inner = [a for a in get_args(hint) if a is not Ellipsis]
        return f"a list, each entry {_describe(inner[0])}" if inner else "a list"
    if origin in (dict, Mapping):
        return "a mapping"
    return names.get(hint, getattr(hint, "__name__", str(hint)))
