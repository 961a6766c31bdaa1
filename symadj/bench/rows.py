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
    """The changed sections: `grad` whole, of the others what is changed."""
    changes = OmegaConf.create()
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
            changes.grad = option(str(value)).copy()
            continue
        if section == "grad":
            changes.setdefault("grad", config.grad.copy())
        known = changes if section == "grad" else config
        _refuse_unknown(known, key)
        OmegaConf.update(changes, key, value, force_add=True)
    return changes


def _refuse_unknown(config: DictConfig, key: str) -> None:
    node: Any = config
    for name in key.split("."):
        names = [str(n) for n in node] if isinstance(node, DictConfig) else []
        if name not in names:
            raise InputError(f"rows: there is no setting {key}.{suggest(name, names)}")
        node = node._get_node(name)
