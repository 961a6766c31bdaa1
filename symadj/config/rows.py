"""Rows of a user's own: a label, and the settings in which it differs from the others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from symadj.errors import InputError, suggest

Option = Callable[[str], DictConfig]

_HOW = "a row needs a list of settings: rows={LABEL:['grad=symplectic','grad.store=stages']}"


def with_changes(
    rows: Any, config: DictConfig, fixed: Collection[str], option: Option
) -> dict[str, DictConfig]:
    """Every row as the sections that it changes, in place of the overrides that say so.

    A row's `grad=NAME` takes the place of the section `grad`; any other override, such as
    `solver.rtol=1e-3`, changes one setting.

    Args:
        rows: by label a list of overrides, or None for no row; a row that is in place already stays
            as it is.
        config: that the changes are to.
        fixed: sections that are the same in all rows.
        option: the section `grad` of a gradient method's name.

    Raises:
        InputError: an override that cannot be used.
    """
    if rows is None:
        return {}
    if not isinstance(rows, DictConfig):
        raise InputError(f"rows={rows}; {_HOW}.")
    found: dict[str, DictConfig] = {}
    for label, given in rows.items():
        if isinstance(given, DictConfig):
            found[str(label)] = given
            continue
        if not isinstance(given, ListConfig):
            raise InputError(f"rows: {label}={given}; {_HOW}.")
        try:
            found[str(label)] = _changes([str(o) for o in given], config, fixed, option)
        except (OverrideParseException, OmegaConfBaseException) as error:
            reason = str(error).partition("\n")[0]
            raise InputError(f"rows: {label}: {reason}") from error
    return found


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with a row's changes, as plain dictionaries.

    Args:
        base: its gradient method holds where the row does not choose one.
        changes: as `with_changes` gives them.
    """
    kept = {key: value for key, value in base.items() if key != "grad" or "grad" not in changes}
    merged = OmegaConf.merge(OmegaConf.create(kept), OmegaConf.create(dict(changes)))
    return OmegaConf.to_container(merged)  # type: ignore[return-value]


def _changes(
    overrides: Sequence[str], config: DictConfig, fixed: Collection[str], option: Option
) -> DictConfig:
    """The changed sections: `grad` whole, of the others what is changed.

    What follows from a change by interpolation, as `solver.compile` from `compile`, is one too.
    """
    kept = OmegaConf.masked_copy(config, [str(key) for key in config if key not in _LISTS])
    edited = kept.copy()
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    # The choice of the method before its settings.
    for override in sorted(parsed, key=lambda o: o.key_or_group != "grad"):
        key, value = override.key_or_group, override.value()
        section = key.partition(".")[0]
        if section in fixed or (key != "grad" and isinstance(config.get(key), DictConfig)):
            raise InputError(
                f"rows: {key} is the same in all rows of a table. A row may choose grad=NAME and "
                "change single settings of grad, solver, measure and of the run."
            )
        if key == "grad":
            edited.grad = option(str(value)).copy()
            continue
        _refuse_unknown(edited, key)
        OmegaConf.update(edited, key, value)
    before, after = (OmegaConf.to_container(c, resolve=True) for c in (kept, edited))
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    changes = _difference(before, after)
    if any(override.key_or_group.partition(".")[0] == "grad" for override in parsed):
        changes["grad"] = after["grad"]
    return OmegaConf.create(changes)


# Of the benchmark: what they hold is in place already, and none of it belongs to a row.
_LISTS = ("grads", "solvers", "rows")


def _difference(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> dict[Any, Any]:
    """The entries of `after` that `before` has not, or has otherwise."""
    found = {}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            if inner := _difference(old, value):
                found[key] = inner
        elif key not in before or value != old:
            found[key] = value
    return found


def _refuse_unknown(config: DictConfig, key: str) -> None:
    node: Any = config
    for name in key.split("."):
        names = [str(n) for n in node] if isinstance(node, DictConfig) else []
        if name not in names:
            raise InputError(f"rows: there is no setting {key}.{suggest(name, names)}")
        node = node._get_node(name)
