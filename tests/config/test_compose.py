from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

import symadj
from symadj.config.compose import compose, config_dir, group_options, option_settings, resolved
from symadj.config.compose import run_settings as typed
from symadj.errors import InputError
from tests.standins import CONFIGS


def fake_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "symadj"
    package.mkdir()
    monkeypatch.setattr(symadj, "__file__", str(package / "__init__.py"))
    return package


def test_the_package_s_own_configs_come_before_a_checkout_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = fake_package(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="install symadj again"):
        config_dir()
    for place in (tmp_path / "configs", package / "configs"):
        place.mkdir()
        (place / "train.yaml").touch()
        assert config_dir() == place


def test_a_directory_of_one_s_own_adds_groups_and_options() -> None:
    assert "cloud" in group_options(CONFIGS)["data"]
    assert "cloud" not in group_options()["data"]
    assert compose("train", ["data=cloud"], CONFIGS).data.dim == 2
    assert not any(option.startswith("_") for option in group_options()["solver"])


def test_a_setting_without_a_value_is_asked_for() -> None:
    config = compose("train", ["data=csv"])
    with pytest.raises(InputError, match=r"data\.path must be given and is not: data\.path=VALUE"):
        resolved(config)
    assert option_settings("data", "csv") == {"_target_", "path", "seed", "header"}


def test_the_seed_reaches_the_split_of_the_data() -> None:
    assert resolved(compose("train", ["seed=11"])).data.seed == 11


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
    config = OmegaConf.create(OmegaConf.to_container(resolved(compose("train"))))
    with pytest.raises(InputError) as raised:
        typed(OmegaConf.merge(config, settings))  # type: ignore[arg-type]
    assert message in str(raised.value)
