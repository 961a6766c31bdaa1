from __future__ import annotations

import inspect
from typing import get_type_hints

import pytest

from symadj.config.build import locate
from symadj.config.groups import group_options, option_settings
from symadj.config.schema import (
    GROUP_PLACES,
    SET_ANEW,
    Role,
    RunSettings,
    below,
    declared,
    leaves,
    role,
    with_defaults,
)

GROUPS = ("data", "model", "task", "solver", "grad", "optim")
SETTINGS = declared(RunSettings)


@pytest.mark.parametrize("key", SETTINGS)
def test_every_setting_of_the_schema_says_its_role(key: str) -> None:
    assert isinstance(SETTINGS[key].metadata["role"], Role)
    assert role(key) is SETTINGS[key].metadata["role"]


def arguments(group: str) -> dict[str, object]:
    """The types of all arguments of a group's constructors, by name."""
    found: dict[str, object] = {}
    for option in group_options()[group]:
        if target := option_settings(group, option).get("_target_"):
            made_by = locate(target, group)
            hints = get_type_hints(made_by.__init__ if inspect.isclass(made_by) else made_by)
            found |= {name: hints[name] for name in inspect.signature(made_by).parameters}
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_names_settings_that_it_has_and_all_of_them_that_are_files(group: str) -> None:
    there = arguments(group) | dict.fromkeys(option_settings(group, "_settings"))
    named = {key.partition(".")[2] for key in SETTINGS if key.startswith(f"{group}.")}
    assert named <= set(there)
    files = {n for n, hint in there.items() if "Path" in str(hint) or n.endswith(("dir", "path"))}
    assert files <= named


def test_what_is_not_said_to_be_else_is_part_of_the_experiment() -> None:
    assert role("optim.lr") is role("solver.rtol") is role("seed") is Role.EXPERIMENT
    assert role("train.batch_size") is role("solver") is role("no.such") is Role.EXPERIMENT


def test_a_section_stands_for_all_below_it_and_for_no_other_name() -> None:
    assert role("measure.every") is role("measure") is role("measure.other") is Role.EXTENT
    assert role("measured") is role("train.steps_more") is Role.EXPERIMENT
    assert below("a.b", "a")
    assert not below("ab", "a")


def test_places_and_ways_of_starting_tell_no_runs_apart() -> None:
    for key in ("name", "out", "data.data_dir", "fresh", "isolate", "launcher.workers", "trust"):
        assert not role(key).tells_runs_apart
    for key in ("device", "train.steps", "data.path", "model.hidden"):
        assert role(key).tells_runs_apart
    assert GROUP_PLACES == ("data.data_dir", "grad.offload_dir")


def test_what_made_the_weights_cannot_be_set_anew() -> None:
    assert set(SET_ANEW) == {
        *("device", "dtype", "threads", "data.path", "data.data_dir", "solver"),
        *("task.check_tolerance", "task.check_factor", "task.likelihood_rows"),
    }


def test_leaves_have_full_keys() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1]}}, "e": {}, "f": None}
    assert leaves(nested) == {"a.b": 1, "a.c.d": [1], "e": {}, "f": None}


def test_what_a_configuration_lacks_has_its_default() -> None:
    whole = with_defaults({"seed": 3, "train": {"steps": 7}, "data": {"size": 1}}, RunSettings)
    assert (whole["seed"], whole["fresh"], whole["data"]) == (3, False, {"size": 1})
    assert whole["train"] == {**vars(RunSettings().train), "steps": 7}
    assert whole["measure"] == vars(RunSettings().measure)
    assert "model" not in whole
