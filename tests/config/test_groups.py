from __future__ import annotations

from pathlib import Path

import pytest

import symadj
from symadj.config.groups import composed, config_dir, group_options, option_settings
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
    assert composed("train", ["data=cloud"], CONFIGS).data.dim == 2
    assert not any(option.startswith("_") for option in group_options()["solver"])


def test_the_settings_of_an_option_are_what_its_file_says() -> None:
    assert option_settings("data", "csv") == {
        "_target_": "symadj.data.table.Table",
        "path": "???",
        "seed": "${seed}",
        "header": None,
        "label": None,
    }
    assert option_settings("data", "none") == {}
