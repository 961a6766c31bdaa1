from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Iterator
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from symadj.config.bench import BenchSettings
from symadj.config.build import locate
from symadj.config.groups import GUIDE_GROUPS, composed, group_options
from symadj.config.schema import MeasureSettings, RunSettings, TrainSettings
from symadj.errors import InputError
from symadj.ranges import RANGES, Range, check_settings, require

OPTIONS = [(group, option) for group, names in group_options().items() for option in names]
SIZES = {"measure.memory_budget"}
SECTIONS: dict[str, type] = {"train": TrainSettings, "measure": MeasureSettings}
# A constructor's arguments that no yaml gives: the data offer them.
OFFERED = {"model.dim"}


def holds_numbers(hint: Any) -> bool:
    """Whether a type is, or may hold, a number."""
    if hint in (int, float):
        return True
    if get_origin(hint) in (Union, types.UnionType, tuple, list) or "Sequence" in str(hint):
        return any(holds_numbers(inner) for inner in get_args(hint))
    return False


def numeric_arguments(group: str, target: type) -> Iterator[str]:
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name in inspect.signature(target).parameters:
        if holds_numbers(hints[name]):
            yield f"{group}.{name}"


def numeric_leaves(config: DictConfig) -> Iterator[str]:
    """The full keys of all settings whose value is a number or holds one."""
    plain = OmegaConf.to_container(config, resolve=False)
    for section, value in plain.items():  # type: ignore[union-attr]
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, leaf in inner:
            entries = leaf if isinstance(leaf, list) else [leaf]
            if any(isinstance(e, (int, float)) and not isinstance(e, bool) for e in entries):
                yield f"{section}.{name}".rstrip(".")


@pytest.mark.parametrize("command", ["train", "bench"])
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_number_of_every_option_has_a_range(command: str, group: str, option: str) -> None:
    guides = group in GUIDE_GROUPS
    config = composed("guide" if guides else command, [f"{group}={option}"])
    assert set(numeric_leaves(config)) <= set(RANGES)
    for section in (group,) if guides else ("data", "model", "task", "solver", "grad", "optim"):
        target: Any = locate(config[section]._target_, section)
        assert set(numeric_arguments(section, target)) <= set(RANGES) | OFFERED


def test_every_number_of_the_typed_sections_has_a_range_and_every_range_a_setting() -> None:
    schemas: dict[str, type] = {"": RunSettings, **SECTIONS}
    found = set(SIZES)
    for section, schema in [*schemas.items(), ("", BenchSettings)]:
        for name, hint in get_type_hints(schema).items():
            if holds_numbers(hint):
                found.add(f"{section}.{name}".lstrip("."))
    for group, option in OPTIONS:
        if group not in ("measure", "train", "experiment"):
            command = "guide" if group in GUIDE_GROUPS else "train"
            node = composed(command, [f"{group}={option}"])[group]
            target: Any = locate(node._target_, group)
            found |= set(numeric_arguments(group, target))
    assert found == set(RANGES)


@pytest.mark.parametrize("key", RANGES)
def test_a_range_says_what_is_allowed_and_refuses_what_no_range_holds(key: str) -> None:
    known = RANGES[key]
    for value in (float("nan"), float("inf"), 1e308, 10**30, "many", "", True):
        given = [value] if known.each else value
        if known.size and value == 10**30:
            continue
        with pytest.raises(InputError) as raised:
            known.check(given, key)
        assert str(raised.value).startswith(f"{key}=")
        assert known.allowed() in str(raised.value)


@given(st.floats(allow_nan=False) | st.integers())
def test_a_number_is_within_exactly_the_bounds(number: float) -> None:
    half_open = Range("it", 0, 10, below=True)
    refused = not 0 <= number < 10
    try:
        half_open.check(number, "x")
        assert not refused
    except InputError:
        assert refused


def test_zero_null_and_gaps_are_allowed_where_the_range_says_so() -> None:
    RANGES["solver.rtol"].check(0, "rtol")
    RANGES["train.clip"].check(None, "clip")
    RANGES["steps"].check([None, 3], "steps")
    for key, value in (("train.clip", 0), ("train.steps", None), ("batch", [None])):
        with pytest.raises(InputError):
            RANGES[key].check(value, key)


def test_a_constructor_s_message_names_its_argument_and_a_section_s_the_full_key() -> None:
    with pytest.raises(InputError, match=r"^size=0; the number of points .* from 1 to"):
        require("data", seed=1, size=0)
    with pytest.raises(InputError, match=r"^data\.size=0; "):
        check_settings("data", {"_target_": "symadj.data.toy2d.Toy2D", "size": 0})
    check_settings("data", {"_target_": "mine.Data", "size": 0})


def test_the_unit_is_said() -> None:
    assert dataclasses.replace(RANGES["train.max_seconds"]).allowed() == (
        "a number above 0 and at most 1e+09, in seconds, or null: none"
    )
