"""The configurations there are, and how Hydra composes one of them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import symadj
from symadj.config.schema import RunSettings
from symadj.errors import InputError

GUIDE_GROUPS = ("goal", "way")
"""The groups of symadj-guide, which are no part of a training."""


def config_dir() -> Path:
    """The directory of the configurations: the installed package's own, else the checkout's.

    Raises:
        InputError: neither is there (a broken installation).
    """
    package = Path(symadj.__file__).resolve().parent
    for path in (package / "configs", package.parent / "configs"):
        if (path / "train.yaml").is_file():
            return path
    raise InputError(
        f"symadj's configurations are neither in {package / 'configs'} nor in "
        f"{package.parent / 'configs'}; install symadj again."
    )


def group_options(extra: Path | None = None) -> dict[str, list[str]]:
    """The names in each configuration group, the groups and names in alphabetical order.

    Args:
        extra: a further directory of configurations, as `--config-dir` gives it.
    """
    found: dict[str, set[str]] = {}
    for root in filter(None, (config_dir(), extra)):
        for path in root.glob("*/*.yaml"):
            # A leading underscore marks what the options of a group share.
            if not path.stem.startswith("_"):
                found.setdefault(path.parent.name, set()).add(path.stem)
    return {group: sorted(found[group]) for group in sorted(found)}


def description(group: str, option: str) -> str:
    """The first comment of a group's file, `# @package` apart: one line on what the option is."""
    path = config_dir() / group / f"{option}.yaml"
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") and "@package" not in line:
            return line.lstrip("# ")
    return ""


def option_settings(group: str, option: str) -> dict[str, Any]:
    """What a group's file says itself, references unresolved; nothing where there is no file."""
    path = config_dir() / group / f"{option}.yaml"
    plain: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return plain if isinstance(plain, dict) else {}


def composed(
    config_name: str, overrides: Sequence[str] = (), extra: Path | None = None
) -> DictConfig:
    """A configuration as Hydra composes it: interpolations in it, settings missing perhaps.

    Args:
        config_name: "train", ... : a file of `config_dir()`.
        overrides: Hydra overrides, such as "solver=tsit5" and "train.steps=10".
        extra: a further directory of configurations, searched first.

    Raises:
        hydra.errors.HydraException, omegaconf.errors.OmegaConfBaseException: bad overrides.
    """
    if extra is None:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        groups = {path.name for path in config_dir().iterdir() if path.is_dir()}
        values = [o for o in parsed if _sets_a_value(o, groups)]
        choices = tuple(o.input_line or "" for o in parsed if o not in values)
        config = _chosen(config_dir(), config_name, choices).copy()
        try:
            for override in values:
                OmegaConf.update(config, override.key_or_group, override.value(), merge=True)
        except (OmegaConfBaseException, ValueError, TypeError):
            # Hydra's own error says more.
            return _compose(config_dir(), config_name, overrides)
        return config
    return _compose(config_dir(), config_name, overrides, extra)


def _sets_a_value(override: Override, groups: Collection[str]) -> bool:
    """Whether an override of Hydra's sets one value of what the groups are composed to."""
    return not (
        override.key_or_group in groups
        or override.package is not None
        or override.is_delete()
        or override.is_add()
        or override.is_force_add()
        or override.is_sweep_override()
        or override.is_hydra_override()
    )


@functools.lru_cache(maxsize=64)
def _chosen(root: Path, config_name: str, choices: tuple[str, ...]) -> DictConfig:
    """What the options of the groups are composed to, which is most of the work; for copying."""
    return _compose(root, config_name, choices)


def _compose(
    root: Path, config_name: str, overrides: Sequence[str], extra: Path | None = None
) -> DictConfig:
    ConfigStore.instance().store(name="run_settings", node=RunSettings)
    search = [f"hydra.searchpath=['file://{extra.resolve()}']"] if extra else []
    with hydra.initialize_config_dir(str(root), version_base="1.3"):
        return hydra.compose(config_name, overrides=[*overrides, *search])
