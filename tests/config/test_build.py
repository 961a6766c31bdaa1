from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
import torch

from symadj.config.build import build, with_full_keys
from symadj.errors import IncompatibleError, InputError


class Thing:
    def __init__(
        self,
        dim: int,
        rate: float = 1.0,
        sizes: tuple[int, ...] = (1,),
        names: Sequence[str] = (),
        kind: Literal["a", "b"] = "a",
        limit: int | None = None,
        flag: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.values = (dim, rate, sizes, names, kind, limit, flag, options)


def make(**settings) -> Thing:
    node = {"_target_": f"{__name__}.Thing", **settings}
    return build(node, "thing", dim=3)


def test_settings_and_given_arguments_reach_the_constructor() -> None:
    thing = make(rate=2, sizes=[4, 5], names=["x"], kind="b", limit=7, flag=True, options={"k": 1})
    assert thing.values == (3, 2, (4, 5), ["x"], "b", 7, True, {"k": 1})
    assert make(limit=None).values[5] is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rat": 1.0}, r"unknown setting thing\.rat\..*'rate'"),
        ({"rate": "fast"}, r"thing\.rate='fast'; it must be a number"),
        ({"rate": True}, r"thing\.rate=True"),
        ({"limit": 1.5}, r"thing\.limit=1\.5; it must be a whole number or null"),
        ({"flag": 1}, r"thing\.flag=1; it must be true or false"),
        ({"sizes": [1, "x"]}, r"thing\.sizes=.*list, each entry a whole number"),
        ({"sizes": 3}, r"thing\.sizes=3"),
        ({"names": "abc"}, r"thing\.names='abc'"),
        ({"kind": "c"}, r"thing\.kind='c'; it must be 'a' or 'b'"),
        ({"options": 3}, r"thing\.options=3"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**settings)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InputError, match=r"thing\.dim must be given"):
        build({"_target_": f"{__name__}.Thing"}, "thing")


@pytest.mark.parametrize("target", ["no.such.module.X", "symadj.errors.Nothing", "os.sep", "X"])
def test_a_target_that_is_nothing_is_named(target: str) -> None:
    with pytest.raises(InputError, match=r"thing\._target_="):
        build({"_target_": target}, "thing")


@pytest.mark.parametrize("node", [{}, {"dim": 1}, None, {"_target_": 3}])
def test_a_group_without_a_target_is_refused(node: Any) -> None:
    with pytest.raises(InputError, match="thing has no _target_"):
        build(node, "thing")


class Kernel:
    def __init__(self, dx: float | None = None, size: int = 3) -> None:
        self.values = (dx, size)


class Picking:
    def __init__(self, mask: str | torch.Tensor = "upper", module: torch.nn.Module | None = None):
        self.mask, self.module = mask, module


@pytest.mark.parametrize("mask", [0, 1.5, None, ["upper"]])
def test_a_value_must_be_of_the_types_that_a_yaml_can_hold(mask: Any) -> None:
    assert offer(Picking, mask="lower").mask == "lower"
    with pytest.raises(InputError, match=r"^thing\.mask=.*; it must be a text\.$"):
        offer(Picking, mask=mask)
    with pytest.raises(InputError, match=r"^thing\.module='m'; it must be null\.$"):
        offer(Picking, module="m")


class Open:
    def __init__(self, **settings: Any) -> None:
        self.settings = settings


def offer(target: type, **settings: Any) -> Any:
    node = {"_target_": f"{__name__}.{target.__name__}", **settings}
    return build(node, "thing", offered={"dim": 50, "dx": 0.2})


def test_what_is_offered_is_taken_where_there_is_an_argument_for_it() -> None:
    assert offer(Kernel).values == (0.2, 3)
    assert offer(Thing).values[0] == 50
    assert offer(Open, k=1).settings == {"dim": 50, "dx": 0.2, "k": 1}


def test_a_setting_beats_an_offer_and_null_does_not() -> None:
    assert offer(Kernel, dx=0.5).values == (0.5, 3)
    assert offer(Kernel, dx=None, size=5).values == (0.2, 5)
    assert offer(Thing, dim=4).values[0] == 4


class Objecting:
    def __init__(self, rate: float = 1.0, step_size: float = 1.0, options: Any = None) -> None:
        raise IncompatibleError(f"rate={rate} with step_size: at that rate, inner_size=2 is none.")


def test_what_a_constructor_objects_to_is_named_by_its_full_key() -> None:
    node = {"_target_": f"{__name__}.Objecting", "rate": 2, "options": {"inner_size": 2}}
    with pytest.raises(IncompatibleError) as raised:
        build({**node, "step_size": 3.0}, "thing")
    assert str(raised.value) == (
        "thing.rate=2 with thing.step_size: at that rate, thing.options.inner_size=2 is none."
    )


def test_a_name_that_has_its_key_already_or_is_another_word_stays() -> None:
    message = "solver.rtol=1, xrtol=2, rtol of all, rtols=3"
    assert with_full_keys(message, "solver", {"rtol": 1}) == message
    assert with_full_keys("rtol=1", "solver", {}) == "rtol=1"
