"""Going on with a training that was cut off: what must be there, and what may differ."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from symadj.errors import InputError
from symadj.run.files import CHECKPOINT, CONFIG, RECORD

_MAY_DIFFER = (
    "resume",
    "name",
    "out",
    "device",
    "threads",
    "compile",
    "solver.compile",
    "isolate",
    "fresh",
    "data.data_dir",
    "measure",
    "train.steps",
    "train.max_seconds",
    "train.patience",
    "train.eval_batch_size",
    "train.test",
    "train.figures",
)


def saved_config(directory: Path) -> DictConfig:
    """The configuration that a run directory was made with.

    Raises:
        InputError: no run directory, or one without a checkpoint to go on from.
    """
    for name in (CONFIG, RECORD, CHECKPOINT):
        if not (directory / name).is_file():
            raise InputError(
                f"{directory}: there is no {name}; give the directory of a run whose training has "
                "begun."
            )
    try:
        config = OmegaConf.load(directory / CONFIG)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{directory / CONFIG} cannot be read ({error}).") from error
    if not isinstance(config, DictConfig):
        raise InputError(f"{directory / CONFIG} is no run's configuration.")
    return config


def resumed_config(composed: DictConfig, keys: Iterable[str]) -> DictConfig:
    """The saved configuration of the run to resume, with what the command line says anew.

    Args:
        composed: as the command line composes it, `resume` set.
        keys: the settings named on the command line; the others are the saved ones.

    Raises:
        InputError: nothing to resume there, or a named setting that differs and must not.
    """
    directory = Path(composed.resume)
    try:
        saved = saved_config(directory)
    except InputError as error:
        raise InputError(f"resume={error}") from error
    merged = with_named(saved, composed, keys)
    merged.resume = str(directory)
    check_same(saved, merged, directory)
    return merged


def with_named(saved: DictConfig, composed: DictConfig, keys: Iterable[str]) -> DictConfig:
    """A saved configuration with the settings named in `keys` as they are in `composed`."""
    merged = saved.copy()
    for key in keys:
        # An experiment sets many things at once: all of them count as named.
        named = list(composed) if key == "experiment" else [key]
        for name in named:
            OmegaConf.update(merged, str(name), OmegaConf.select(composed, str(name)), merge=False)
    return merged


def check_same(saved: DictConfig, config: DictConfig, directory: Path) -> None:
    """Raises `InputError` where a configuration would not continue the run it names."""
    old, new = leaves(saved), leaves(config)
    differ = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} here"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _may_differ(key)
    ]
    if differ:
        raise InputError(
            f"resume={directory} was another run ({'; '.join(differ)}). Leave these settings out, "
            "or start a run of its own without resume."
        )


def leaves(config: DictConfig) -> dict[str, Any]:
    """Every setting of a configuration by its dotted name."""
    plain = OmegaConf.to_container(config, resolve=True)
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, dict) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        else:
            found[key] = value

    walk(plain, "")
    return found


def _may_differ(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _MAY_DIFFER)
