from __future__ import annotations

import pytest
import yaml

from symadj.config.compose import compose, run_settings, to_yaml
from symadj.errors import InputError


def test_a_setting_without_a_value_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"data\.path must be given and is not: data\.path=VALUE"):
        compose("train", ["data=csv"])


def test_the_seed_reaches_the_split_of_the_data() -> None:
    assert compose("train", ["seed=11"])["data"]["seed"] == 11


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sead": 1}, "unknown setting sead. Did you mean 'seed'"),
        (
            {"train": {"steps": "many"}},
            "train.steps='many'; the number of training iterations must be a whole number",
        ),
        ({"train": {"stepz": 1}}, "stepz"),
        (
            {"train": {"clip": -1.0}},
            "train.clip=-1.0; the largest norm of the gradient must be a number from",
        ),
        ({"threads": 0}, "threads=0"),
        ({"measure": {"memory_budget": "64 apples"}}, "measure.memory_budget"),
    ],
)
def test_a_configuration_made_by_hand_is_checked_too(settings: dict, message: str) -> None:
    whole = compose("train")
    changed = {k: {**whole[k], **v} if isinstance(v, dict) else v for k, v in settings.items()}
    with pytest.raises(InputError) as raised:
        run_settings({**whole, **changed})
    assert message in str(raised.value)


def test_a_configuration_is_plain_values_and_comes_back_from_its_text() -> None:
    config = compose("train", ["model.hidden=[3,4]", "train.max_seconds=5", "seed=2"])
    assert type(config["model"]["hidden"]) is list
    assert type(config["model"]) is dict
    assert config["solver"]["compile"] is False
    assert config["train"]["max_seconds"] == 5.0
    assert yaml.safe_load(to_yaml(config)) == config


def test_a_text_that_looks_like_a_reference_is_refused_by_name() -> None:
    config = compose("train", ["data=csv", r"data.path=\${nowhere}"])
    assert config["data"]["path"] == "${nowhere}"
    with pytest.raises(InputError, match=r"data\.path=\$\{nowhere\}: there is no such setting"):
        run_settings(config)
