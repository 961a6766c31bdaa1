from __future__ import annotations

from pathlib import Path

import pytest

from symadj.config.compose import compose
from symadj.config.space import Parameter, experiment_text, searched
from symadj.errors import InputError


def parameter(text: str) -> Parameter:
    _, [found] = searched([text])
    return found


def test_what_has_one_value_is_every_trial_s_and_the_rest_is_chosen() -> None:
    fixed, space = searched(
        ["data=toy2d", "optim.lr=interval(0.1,1)", "search=tpe", "grad=aca,auto"]
    )
    assert fixed == ["data=toy2d", "search=tpe"]
    assert [p.key for p in space] == ["optim.lr", "grad"]
    assert space[1].choices == ("aca", "auto")


@pytest.mark.parametrize(
    ("text", "low", "high", "step", "log"),
    [
        ("optim.lr=interval(1e-3,1)", 1e-3, 1.0, None, False),
        ("optim.lr=tag(log,interval(1e-3,1))", 1e-3, 1.0, None, True),
        ("model.width=int(interval(2,8))", 2, 8, 1, False),
        # A setting that is a whole number stays one.
        ("train.batch_size=tag(log,interval(2,64))", 2, 64, 1, True),
        ("model.width=range(1,10,3)", 1, 7, 3, False),
        ("model.width=range(9,0,-4)", 1, 9, 4, False),
        ("model.T=range(0.5,2,0.5)", 0.5, 1.5, 0.5, False),
    ],
)
def test_ranges_of_numbers(
    text: str, low: float, high: float, step: float | None, log: bool
) -> None:
    found = parameter(text)
    assert (found.low, found.high, found.step, found.log) == (low, high, step, log)
    assert found.whole is isinstance(low, int) is isinstance(found.high, int)


def test_values_are_those_of_a_list_or_a_range_with_steps() -> None:
    assert parameter("model.hidden=choice([64,64],[128])").values() == ["[64,64]", "[128]"]
    assert parameter("model.width=range(9,0,-4)").values() == [1, 5, 9]
    assert parameter("seed=1,2,1").values() == ["1", "2"]
    assert parameter("model.T=interval(1,2)").values() is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=1"], "a search needs settings to choose"),
        (["optim.lr=interval(1,0.1)"], "the lower bound must be"),
        (["optim.lr=tag(log,interval(0,1))"], "both bounds must be above 0"),
        (["optim.lr=tag(ln,interval(1,2))"], "unknown tag 'ln'"),
        (["optim.lr=tag(log,choice(1,2))"], "a search takes lists of values"),
        (["solver=glob(*)"], "a search takes lists of values"),
        (["seed=shuffle(1,2)"], "leave shuffle out"),
        (["seed=range(3,1)"], "names no value"),
        (["model.T=range(1,2,0)"], "a STEP not 0"),
        (["model.width=tag(log,range(1,9,2))"], "steps of 1"),
        (["seed=1,2", "seed=3,4"], "has been given a range before"),
        (["out=a,b"], "belongs to the search as a whole"),
        (["launcher.workers=1,2"], "belongs to the search as a whole"),
        (["search.trials=range(1,3)"], "belongs to the search as a whole"),
    ],
)
def test_what_is_no_range_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        searched(overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["data=toy2d", "model.hidden=[8,8]", "optim.lr=0.01", "grad=aca", "grad.store=stages"],
        ["experiment=two_body", "grad=aca", "train.steps=3", "model.hidden=[5]"],
        ["experiment=toy2d", "data=csv", "data.path='a b.csv'", "seed=3", "train.clip=null"],
    ],
)
def test_an_experiment_file_says_what_the_overrides_say(
    tmp_path: Path, overrides: list[str]
) -> None:
    text = experiment_text([*overrides, "out=x", "search=tpe", "launcher.workers=2"], "a comment")
    assert text.startswith("# @package _global_\n# a comment\n")
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").write_text(text)
    assert compose("train", ["experiment=mine"], tmp_path) == compose("train", overrides)
