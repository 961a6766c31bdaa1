"""What a run's own configuration may ask for when somebody else may have written it.

A run directory is data. Looking at a run, or going on with it, imports nothing that its
configuration names but what symadj's own groups name, and writes nowhere that it names; what is
more has to be said on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from symadj.config.groups import config_dir
from symadj.config.schema import GROUP_PLACES, Config, below
from symadj.data.directory import data_dir
from symadj.errors import InputError


def check_trusted(
    config: Config,
    directory: Path,
    named: Iterable[str] = (),
    trusted: Iterable[str] = (),
    extra: Path | None = None,
) -> None:
    """Refuses a run's configuration that would run code from elsewhere, or write elsewhere.

    Args:
        config: of the run, with what the command line sets anew.
        directory: of the run, for messages.
        named: dotted names of what the command line sets: they are the user's own.
        trusted: modules whose classes and functions a run may name.
        extra: the user's own directory of configurations; what its groups name is the user's own.

    Raises:
        InputError: the message lists what would be imported, or where files would be written.
    """
    named, trusted = tuple(named), tuple(trusted)
    foreign = [
        (key, target)
        for key, target in _targets(config)
        if not _any(key, named)
        and target not in _shipped(key, extra)
        and not (_any(str(target), trusted) and not below(str(target), "symadj"))
    ]
    if foreign:
        raise InputError(_refusal(directory, foreign))
    for key in GROUP_PLACES:
        group, _, name = key.partition(".")
        place = section.get(name) if isinstance(section := config.get(group), Mapping) else None
        if place is not None and not _any(key, named) and not _usual(key, place):
            raise InputError(
                f"{directory} has {key}={place}, where files would be written. To use that place "
                f"say so: {key}={place}; to use your own: {key}=null."
            )


def _refusal(directory: Path, foreign: Sequence[tuple[str, Any]]) -> str:
    listed = ", ".join(f"{key}={target}" for key, target in foreign)
    said = f"{directory} names code that no group of symadj names; nothing of it was imported: "
    if any(below(str(target), "symadj") for _, target in foreign):
        return f"{said}{listed}. No run that symadj has trained names that: do not trust this one."
    modules = sorted({str(target).rpartition(".")[0] or str(target) for _, target in foreign})
    return f"{said}{listed}. If you trust it: {' '.join(f'--trust {name}' for name in modules)}"


def _any(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted name is one of the names or lies below one of them."""
    return any(below(key, name) for name in names)


def _targets(config: Config) -> Iterator[tuple[str, Any]]:
    """Every `_target_` in a configuration, by its dotted name."""

    def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
        inner = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, entry in inner:
            path = f"{key}.{name}" if key else str(name)
            if name == "_target_":
                yield path, entry
            elif isinstance(entry, (Mapping, list)):
                yield from walk(entry, path)

    yield from walk(config, "")


def _shipped(key: str, extra: Path | None) -> set[str]:
    """The targets that the configurations of a group name: `solver._target_` is of solver."""
    group, _, rest = key.partition(".")
    if rest != "_target_" or not group.isidentifier():
        return set()
    return {
        found[1]
        for root in filter(None, (config_dir(), extra))
        for path in (root / group).glob("*.yaml")
        for found in re.finditer(r"(?m)^_target_:\s*([\w.]+)", path.read_text(encoding="utf-8"))
    }


def _usual(key: str, place: Any) -> bool:
    """Whether data would be kept there without the setting, too."""
    return key == "data.data_dir" and Path(str(place)).expanduser() == data_dir()
