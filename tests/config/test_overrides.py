from __future__ import annotations

import pytest

from symadj.config.overrides import expand, parse, refuse_sweep, value_of
from symadj.errors import InputError


def test_a_sweep_is_every_combination_the_last_value_varying_fastest() -> None:
    assert expand(["grad=backprop,aca", "train.steps=3", "seed=range(0,2)"]) == [
        ["grad=backprop", "train.steps=3", "seed=0"],
        ["grad=backprop", "train.steps=3", "seed=1"],
        ["grad=aca", "train.steps=3", "seed=0"],
        ["grad=aca", "train.steps=3", "seed=1"],
    ]


def test_a_sweep_may_add_settings_and_sweep_over_lists() -> None:
    assert expand(["+a.b=1,2", "model.hidden=[8,8],[16]"])[-1] == ["+a.b=2", "model.hidden=[16]"]
    assert expand([]) == [[]]


def test_what_has_no_list_of_values_is_refused() -> None:
    with pytest.raises(InputError, match="list of values"):
        expand(["optim.lr=interval(0,1)"])


def test_several_values_without_m_are_refused_with_the_command_that_works() -> None:
    with pytest.raises(InputError, match="symadj-train -m grad=aca,symplectic seed=1"):
        refuse_sweep(["grad=aca,symplectic", "seed=1"], "symadj-train")
    refuse_sweep(["grad=aca", "model.hidden=[1,2]"], "symadj-train")


def test_the_last_value_of_a_setting_counts() -> None:
    given = ["data.path=x", "resume=a", "resume='b c'", "seed=3"]
    assert value_of("resume", given) == "b c"
    assert value_of("seed", given) == "3"
    assert value_of("resume", [*given, "resume=null"]) is value_of("name", given) is None


@pytest.mark.parametrize("override", ["data.path=a b=c", "nothing", "x=[1", "a=(b"])
def test_what_cannot_be_read_is_named(override: str) -> None:
    with pytest.raises(InputError, match="cannot read the override"):
        parse([override])
