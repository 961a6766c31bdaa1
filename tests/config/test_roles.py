from __future__ import annotations

from symadj.config.roles import PLACES, Role, below, leaves, role


def test_what_is_not_said_to_be_else_is_part_of_the_experiment() -> None:
    assert role("optim.lr") is role("solver.rtol") is role("seed") is Role.EXPERIMENT
    assert role("train.batch_size") is role("solver") is Role.EXPERIMENT


def test_a_section_stands_for_all_below_it_and_for_no_other_name() -> None:
    assert role("measure.every") is role("measure") is Role.EXTENT
    assert role("measured") is role("train.steps_more") is Role.EXPERIMENT
    assert below("a.b", "a")
    assert not below("ab", "a")


def test_places_and_ways_of_starting_tell_no_runs_apart() -> None:
    for key in ("name", "out", "data.data_dir", "fresh", "trust", "train.figures"):
        assert not role(key).tells_runs_apart
    for key in ("device", "train.steps", "data.path", "model.hidden"):
        assert role(key).tells_runs_apart
    assert PLACES == ("data.data_dir", "grad.offload_dir")


def test_leaves_have_full_keys() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1]}}, "e": {}, "f": None}
    assert leaves(nested) == {"a.b": 1, "a.c.d": [1], "e": {}, "f": None}
