"""The rows of a benchmark: each is the command's overrides with some of its own behind them."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from symadj.config.build import locate
from symadj.config.compose import refuse_missing, resolved
from symadj.config.explain import COMPOSITION_ERRORS, explain, wrong_choice
from symadj.config.groups import composed, group_options
from symadj.config.overrides import parse, value_of
from symadj.errors import InputError, suggest
from symadj.ranges import check_settings

CONFIG_NAME = "bench"
Sections = dict[str, Any]

_HOW = "a row needs a list of settings: rows={LABEL:['grad=symplectic','grad.store=stages']}"
# Rows that differ in these would be rows of different problems, or share a process in vain.
_SHARED = (
    *("data", "model", "task", "train", "seed", "dtype", "device", "threads"),
    "launcher",
)


class Rows:
    """Composes the rows of a command.

    A row is the run of the command's overrides with its own behind them. The command's settings of
    `grad` hold for the method that it has itself, those of `solver` for all solvers that have them.

    Args:
        overrides: of the command.
        own: the benchmark's settings, which are no run's.
        extra: a further directory of configurations.
    """

    def __init__(
        self, overrides: Sequence[str], own: Collection[str], extra: Path | None = None
    ) -> None:
        self._overrides = list(overrides)
        self._parsed = parse(overrides)
        self._own = own
        self._extra = extra
        self._options = group_options(extra)
        self._base = composed(CONFIG_NAME, overrides, extra)
        target = locate(self._base.grad._target_, "grad")
        self._method = value_of("grad", overrides) or getattr(target, "name", None)

    def groups(
        self,
        grads: Sequence[str],
        rows: Mapping[str, Sequence[str]],
        axes: Sequence[Sequence[Sequence[str]]],
    ) -> list[dict[str, Any]]:
        """All rows, by what they share.

        Args:
            grads: names of gradient methods, a row each.
            rows: further rows: by label their overrides.
            axes: for each axis the overrides of its values; there is a group for every combination.

        Returns:
            For each group "changes", the sections in which it differs from the command's run, and
            "grads" and "rows": by label the sections in which a row differs from its group. Of an
            axis without values, the command's own one is taken.

        Raises:
            InputError: a row that cannot be composed; the message names it.
        """
        told = {label: self._checked(label, row) for label, row in rows.items()}
        plain = self._plain(self._base)
        found = []
        for values in itertools.product(*(axis or [()] for axis in axes)):
            axis = [override for value in values for override in value]
            shared, group, changes = self._changed("", axis, self._base, plain)
            row = functools.partial(self._changed, config=shared, plain=group)
            named = {name: row(f"grad={name}", [f"grad={name}"])[2] for name in grads}
            other = {label: row(f"rows: {label}", own)[2] for label, own in told.items()}
            found.append({"changes": changes, "grads": named, "rows": other})
        return found

    def _changed(
        self, name: str, row: Sequence[str], config: DictConfig, plain: Sections
    ) -> tuple[DictConfig, Sections, Sections]:
        """A configuration with a row's overrides, as plain values, and what of it is another.

        Args:
            name: of the row, for messages.
            row: its overrides.
            config: what they are behind.
            plain: the same as plain values.
        """
        with _named(name):
            try:
                changed = self._appended(config, row)
                values = self._plain(changed)
            except COMPOSITION_ERRORS as error:
                overrides = [*self._overrides, *row]
                message = explain(error, CONFIG_NAME, overrides, self._extra)
                raise InputError(message) from error
            changes = {key: value for key, value in values.items() if value != plain[key]}
            for key, value in changes.items():
                whole = isinstance(value, dict)
                check_settings(key if whole else "", value if whole else {key: value})
        return changed, values, changes

    def _appended(self, config: DictConfig, row: Sequence[str]) -> DictConfig:
        config = config.copy()
        # The choices before their settings, as Hydra has them.
        for override in sorted(parse(row), key=lambda o: o.key_or_group not in self._options):
            key, value = override.key_or_group, override.value()
            if key in self._options:
                config[key] = self._section(key, str(value))
            else:
                OmegaConf.update(config, key, value, force_add=override.is_add())
        return config

    def _section(self, group: str, name: str) -> DictConfig:
        """The section of an option, with the settings of the command that hold for it."""
        if name not in self._options[group]:
            hint = suggest(name, self._options[group])
            raise InputError(f"unknown {group} {name!r}.{hint}")
        if group == "grad":
            own = name == self._method
            return self._base.grad if own else _option(f"grad={name}", self._extra).grad
        kept = [o for o in self._parsed if o.key_or_group in self._options]
        choices = [o.input_line or "" for o in kept if o.key_or_group != group]
        section = composed(CONFIG_NAME, [*choices, f"{group}={name}"], self._extra)[group]
        for override in self._parsed:
            above, _, key = override.key_or_group.partition(".")
            if above == group and key in section:
                OmegaConf.update(section, key, override.value())
        return section

    def _checked(self, label: str, row: Sequence[str]) -> Sequence[str]:
        """A row of the user's own, its overrides looked at one by one."""
        with _named(f"rows: {label}"):
            for override in parse(row):
                self._refuse(override)
        return row

    def _refuse(self, override: Override) -> None:
        key = override.key_or_group
        section = key.partition(".")[0]
        whole = key != "grad" and isinstance(self._base.get(key), DictConfig)
        if whole or section in (*self._own, *_SHARED):
            raise InputError(
                f"{key} is the same in all rows of a table. A row may choose grad=NAME and "
                "change single settings of grad, solver, measure and of the run."
            )
        if problem := wrong_choice(override, self._options):
            raise InputError(problem)
        if override.is_sweep_override():
            raise InputError(f"{override.input_line} names several values; a row has one.")

    def _plain(self, config: DictConfig) -> Sections:
        """What of a configuration is a run's."""
        refuse_missing(config)
        plain = resolved(config)
        return {key: value for key, value in plain.items() if key not in self._own}


def row_lists(rows: Any) -> dict[str, list[str]]:
    """The setting `rows` as labels and overrides; None is no row.

    Raises:
        InputError: it is something else.
    """
    if rows is None:
        return {}
    if not isinstance(rows, Mapping):
        raise InputError(f"rows={rows}; {_HOW}.")
    for label, row in rows.items():
        if not isinstance(row, Sequence) or isinstance(row, str):
            raise InputError(f"rows: {label}={row}; {_HOW}.")
    return {str(label): list(map(str, row)) for label, row in rows.items()}


@functools.cache
def _option(choice: str, extra: Path | None) -> DictConfig:
    return composed(CONFIG_NAME, [choice], extra)


@contextlib.contextmanager
def _named(row: str) -> Iterator[None]:
    """Within it, a message says which row it is about."""
    try:
        yield
    except InputError as error:
        if row:
            error.args = (f"{row}: {error}",)
        raise
