"""The rows of a benchmark: each is the command's overrides with some of its own behind them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from symadj.config.build import locate
from symadj.config.compose import refuse_missing, resolved
from symadj.config.explain import COMPOSITION_ERRORS, explain, objections, wrong_choice
from symadj.config.groups import composed, group_options
from symadj.config.overrides import parse, value_of
from symadj.errors import InputError, suggest
from symadj.ranges import check_settings

CONFIG_NAME = "bench"
Sections = dict[str, Any]

_HOW = "a row needs a list of settings: rows={LABEL:['grad=symplectic','grad.store=stages']}"
# Rows that differ in these would be rows of different problems, or share a process in vain.
_SHARED = ("data", "model", "task", "train", "seed", "dtype", "device", "threads", "launcher")


class Rows:
    """Composes the rows of a command.

    A row is the run of the command's overrides with its own behind them. The command's settings of
    `grad` hold for the method that it has itself, those of `solver` for all solvers that have them.
    Hydra composes every option once, however many rows have it.

    Args:
        overrides: of the command.
        own: the benchmark's settings, which are no run's.
        extra: a further directory of configurations.
    """

    def __init__(
        self, overrides: Sequence[str], own: Collection[str], extra: Path | None = None
    ) -> None:
        self._overrides = parse(overrides)
        self._own = own
        self._extra = extra
        self._options = group_options(extra)
        self._base = composed(CONFIG_NAME, overrides, extra)
        target = locate(self._base.grad._target_, "grad")
        self._method = value_of("grad", overrides) or getattr(target, "name", None)

    def groups(
        self, rows: Mapping[str, Sequence[str]], axes: Sequence[Sequence[Sequence[str]]]
    ) -> list[dict[str, Any]]:
        """All rows, by what they share.

        Args:
            rows: by label their overrides.
            axes: for each axis the overrides of its values, or none; there is a group for every
                combination.

        Returns:
            For each group "changes", the sections in which it differs from the command's run, and
            "rows": by label the sections in which a row differs from its group.

        Raises:
            InputError: a row that cannot be composed; the message names it.
        """
        whole = self._plain(self._base)
        found = []
        for values in itertools.product(*(axis or [()] for axis in axes)):
            shared = self._behind(self._base, [override for value in values for override in value])
            group, own = self._plain(shared), {}
            for label, row in rows.items():
                with _named(label):
                    own[label] = _differing(group, self._plain(self._behind(shared, row)))
            found.append({"changes": _differing(whole, group), "rows": own})
        return found

    def checked(self, rows: Any) -> dict[str, list[str]]:
        """The setting `rows` as labels and overrides; None is no row.

        Raises:
            InputError: it is something else, or a row changes what no row may.
        """
        rows = {} if rows is None else rows
        if not isinstance(rows, Mapping):
            raise InputError(f"rows={rows}; {_HOW}.")
        found = {}
        for label, row in rows.items():
            if not isinstance(row, Sequence) or isinstance(row, str):
                raise InputError(f"rows: {label}={row}; {_HOW}.")
            found[str(label)] = [str(override) for override in row]
            with _named(str(label)):
                for override in parse(found[str(label)]):
                    self._refuse(override)
        return found

    def _refuse(self, override: Override) -> None:
        key = override.key_or_group
        whole = key != "grad" and isinstance(self._base.get(key), DictConfig)
        if whole or key.partition(".")[0] in (*self._own, *_SHARED):
            raise InputError(
                f"{key} is the same in all rows of a table. A row may choose grad=NAME and "
                "change single settings of grad, solver, measure and of the run."
            )
        if problem := wrong_choice(override, self._options):
            raise InputError(problem)
        if override.is_sweep_override():
            raise InputError(f"{override.input_line} names several values; a row has one.")

    def _behind(self, config: DictConfig, row: Sequence[str]) -> DictConfig:
        """A configuration with a row's overrides behind it."""
        config = config.copy()
        try:
            # The choices before their settings, as Hydra has them.
            for override in sorted(parse(row), key=lambda o: o.key_or_group not in self._options):
                key, value = override.key_or_group, override.value()
                if key in self._options:
                    config[key] = self._section(key, str(value))
                else:
                    OmegaConf.update(config, key, value, force_add=override.is_add())
        except COMPOSITION_ERRORS as error:
            overrides = [*(o.input_line or "" for o in self._overrides), *row]
            raise InputError(explain(error, CONFIG_NAME, overrides, self._extra)) from error
        return config

    def _section(self, group: str, name: str) -> DictConfig:
        """The section of an option, with the settings of the command that hold for it."""
        if name not in (options := self._options[group]):
            raise InputError(f"unknown {group} {name!r}.{suggest(name, options)}")
        if group == "grad":
            own = name == self._method
            return self._base.grad if own else _option(f"grad={name}", self._extra).grad
        chosen = [o for o in self._overrides if o.key_or_group in self._options]
        choices = [o.input_line or "" for o in chosen if o.key_or_group != group]
        section = composed(CONFIG_NAME, [*choices, f"{group}={name}"], self._extra)[group]
        for override in self._overrides:
            above, _, key = override.key_or_group.partition(".")
            if above == group and key in section:
                OmegaConf.update(section, key, override.value())
        return section

    def _plain(self, config: DictConfig) -> Sections:
        """What of a configuration is a run's."""
        with objections():
            refuse_missing(config)
            plain = resolved(config)
        return {key: value for key, value in plain.items() if key not in self._own}


@functools.cache
def _option(choice: str, extra: Path | None) -> DictConfig:
    return composed(CONFIG_NAME, [choice], extra)


def _differing(before: Sections, after: Sections) -> Sections:
    """The sections of `after` that `before` has otherwise, their numbers checked."""
    changes = {key: value for key, value in after.items() if value != before[key]}
    for key, value in changes.items():
        whole = isinstance(value, dict)
        check_settings(key if whole else "", value if whole else {key: value})
    return changes


@contextmanager
def _named(label: str) -> Iterator[None]:
    """Within it, a message says which row it is about."""
    try:
        yield
    except InputError as error:
        error.args = (f"rows: {label}: {error}",)
        raise
