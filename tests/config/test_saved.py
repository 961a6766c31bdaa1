from __future__ import annotations

from pathlib import Path

import pytest

from symadj.cli.train import main
from symadj.config.saved import check_same, resumed_config, saved_config
from symadj.errors import InputError
from symadj.records.record import RunRecord
from symadj.run.directory import sole_user
from symadj.run.train import train
from tests.standins import losses, standin_config, train_quietly

TRUSTED = ["tests.standins"]


def composed(tmp_path: Path, directory: Path, *overrides: str):
    return standin_config(tmp_path, f"resume={directory}", *overrides)


def test_settings_that_are_not_named_are_the_saved_ones(tmp_path: Path) -> None:
    _, directory = train_quietly(tmp_path, "model.width=7", "seed=5")
    config = resumed_config(directory, [], TRUSTED)
    assert (config["model"]["width"], config["seed"], config["resume"]) == (7, 5, str(directory))


def test_more_steps_go_on_where_the_run_ended(tmp_path: Path) -> None:
    # A constant rate: half a cosine over nine steps is another one than over six.
    constant = "optim=adam"
    _, straight = train_quietly(tmp_path, "train.steps=9", constant)
    _, directory = train_quietly(tmp_path, constant)
    config = resumed_config(directory, ["train.steps=9", constant], TRUSTED)
    assert train(config).iterations == 9
    assert losses(directory) == losses(straight)


def test_data_that_were_moved_are_the_same_data(tmp_path: Path) -> None:
    saved, moved, other = (
        {"seed": 1, "data": {"_target_": target, "data_dir": folder}}
        for target, folder in (("a.B", "/old"), ("a.B", None), ("a.C", "/old"))
    )
    check_same(saved, moved, tmp_path)
    with pytest.raises(InputError, match=r"data\._target_"):
        check_same(saved, other, tmp_path)


@pytest.mark.parametrize(
    ("override", "key"),
    [("model.width=9", "model.width"), ("seed=1", "seed"), ("grad=aca", "grad._target_")],
)
def test_another_run_is_refused_with_the_difference(
    tmp_path: Path, override: str, key: str
) -> None:
    _, directory = train_quietly(tmp_path)
    before = (directory / "record.json").read_bytes()
    with pytest.raises(InputError, match=key):
        resumed_config(directory, [override], TRUSTED)
    with pytest.raises(InputError, match=key):
        train(composed(tmp_path, directory, override))
    assert (directory / "record.json").read_bytes() == before


def test_what_cannot_be_resumed_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.yaml"):
        train(composed(tmp_path, tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    _, directory = train_quietly(tmp_path)
    (directory / "checkpoint.pt").write_bytes(b"garbage")
    before = (directory / "record.json").read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.pt cannot be read"):
        train(composed(tmp_path, directory))
    assert (directory / "record.json").read_bytes() == before
    (directory / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml cannot be read"):
        train(composed(tmp_path, directory))


def test_a_run_that_is_still_running_is_not_resumed(tmp_path: Path) -> None:
    _, directory = train_quietly(tmp_path)
    with sole_user(directory), pytest.raises(InputError, match="another process"):
        train(composed(tmp_path, directory))


def test_reading_a_saved_configuration_makes_nothing_of_it(tmp_path: Path) -> None:
    _, directory = train_quietly(tmp_path)
    text = (directory / "config.yaml").read_text()
    assert "tests.standins.Flow" in text
    (directory / "config.yaml").write_text(text.replace("tests.standins.Flow", "os.system"))
    with pytest.raises(InputError, match=r"model\._target_"):
        train(composed(tmp_path, directory))
    with pytest.raises(InputError, match=r"model\._target_=os\.system\. .* --trust os"):
        resumed_config(directory, [], TRUSTED)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: &x [1]\nb: *x", "it has an alias, \\*x"),
        ("a: " + "[" * 40 + "]" * 40, "nested more than 30 levels"),
        ("name: ${oc.env:HOME}", r"refers to \$\{oc\.env:HOME\}, and nothing is looked up"),
        ("a: [{b: '${seed}'}]", r"refers to \$\{seed\}"),
        ("a: !!python/object/apply:os.getcwd []", "cannot be read"),
        ("[1, 2]", "it is no mapping of names to values"),
        ("x" * 300_000, "too large"),
    ],
)
def test_a_saved_configuration_is_plain_values(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        saved_config(tmp_path)


def test_a_run_from_before_sweeps_had_launchers_goes_on(tmp_path: Path) -> None:
    _, run = train_quietly(tmp_path, "train.steps=4")
    path = run / "config.yaml"
    path.write_text(path.read_text() + "isolate: false\n")
    assert "isolate" not in saved_config(run)
    assert main([f"resume={run}", "train.steps=6", "--trust", "tests.standins"]) == 0
    assert RunRecord.load(run / "record.json").iterations == 6
