"""Where the configurations lie, and how one is composed."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Collection, Sequence
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import symadj
from symadj.config.complaints import complaint
from symadj.config.schema import MeasureSettings, RunSettings, TrainSettings
from symadj.errors import InputError, suggest
from symadj.ranges import check_settings

AnySettings = typing.TypeVar("AnySettings", bound=RunSettings)


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


def option_settings(group: str, option: str) -> set[str]:
    """The settings that a group's file names itself."""
    path = config_dir() / group / f"{option}.yaml"
    loaded = OmegaConf.load(path) if path.is_file() else OmegaConf.create()
    return {str(name) for name in loaded} if isinstance(loaded, DictConfig) else set()


def compose(
    config_name: str, overrides: Sequence[str] = (), extra: Path | None = None
) -> DictConfig:
    """Composes a configuration as `symadj-train` would, without running anything.

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


def resolved(config: DictConfig) -> DictConfig:
    """A copy with all interpolations replaced by their values.

    Raises:
        InputError: a setting that must be given is not.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise InputError(
            f"{missing[0]} must be given and is not: {missing[0]}=VALUE."
            + (f" So must {', '.join(missing[1:])}." if missing[1:] else "")
        )
    copy = config.copy()
    OmegaConf.resolve(copy)
    return copy


def check_numbers(config: DictConfig) -> None:
    """Checks all numbers of a resolved configuration, under their full keys.

    Raises:
        InputError: a value out of its range.
    """
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    check_settings("", plain)
    # The data take values from other sections, which are then named by those.
    for section, settings in sorted(plain.items(), key=lambda entry: entry[0] == "data"):
        if isinstance(settings, dict):
            check_settings(str(section), settings)


def run_settings(config: DictConfig) -> RunSettings:
    """A resolved configuration as the typed object, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    return typed(config, RunSettings)


def typed(config: DictConfig, schema: type[AnySettings]) -> AnySettings:
    """A resolved configuration as an object of its schema, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    refuse_unknown(config, schema)
    check_numbers(config)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), config)
        settings = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        reason = complaint(error) or f"it cannot be used: {str(error).partition(chr(10))[0]}"
        raise InputError(f"{reason}.") from error
    assert isinstance(settings, schema)
    settings.check()
    return settings


def refuse_unknown(config: DictConfig, schema: type[RunSettings]) -> None:
    """Raises `InputError` for a setting that the schema, or one of its sections, does not have."""
    sections = {"": schema, "train": TrainSettings, "measure": MeasureSettings}
    for section, dataclass in sections.items():
        known = {field.name for field in dataclasses.fields(dataclass)}
        node = config if not section else config.get(section, {})
        if unknown := sorted(str(name) for name in node if name not in known):
            key = f"{section}.{unknown[0]}".lstrip(".")
            raise InputError(f"unknown setting {key}.{suggest(unknown[0], known)}")
