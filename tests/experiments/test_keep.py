"""Results that are made in several sittings: records are kept, run directories are not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import rounding
import steps
from harness import Command, Drawn, main
from harness.main import Session
from harness.results import FILE
from symadj.launch.sweep import Sweep
from symadj.records.environment import commit

pytestmark = pytest.mark.skipif(commit() is None, reason="no checkout of git")


def run(script: ModuleType, out: Path, *arguments: str) -> int:
    return main(script.EXPERIMENT, ["--preset", "smoke", "--out", str(out), *arguments])


def cells(out: Path) -> list[dict[str, Any]]:
    return json.loads((out / FILE).read_text())["cells"]


def runs(out: Path) -> list[str]:
    return sorted(path.parent.name for path in out.glob("runs/*/config.yaml"))


def changed(out: Path, **head: Any) -> None:
    """Writes records.json with other values."""
    kept = json.loads((out / FILE).read_text())
    (out / FILE).write_text(json.dumps({**kept, **head}))


def of_commit(out: Path, name: str) -> None:
    kept = json.loads((out / FILE).read_text())
    changed(out, environments=[{**around, "commit": name} for around in kept["environments"]])


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One of two commands is done, and its run is gone."""
    monkeypatch.setattr(steps, "GRADS", ("aca", "symplectic"))
    smoke = steps.EXPERIMENT.presets["smoke"]

    def two(arguments: Any) -> Any:
        made = smoke(arguments)
        return replace(made, commands=made.commands[:2])

    presets = {**steps.EXPERIMENT.presets, "smoke": two}
    monkeypatch.setattr(steps, "EXPERIMENT", replace(steps.EXPERIMENT, presets=presets))
    assert run(steps, tmp_path, "--only", "N-2") == 1
    shutil.rmtree(tmp_path / "runs")
    return tmp_path


def test_kept_cells_are_not_measured_again_and_stay_as_they_are(begun: Path, capsys) -> None:
    before = cells(begun)
    assert len(before) == 3
    capsys.readouterr()
    assert run(steps, begun, "--dry-run", "--keep") == 0
    told = capsys.readouterr().out
    assert "N-2: finished" in told
    assert "N-4: about" in told
    # Another command alone loses none of them either.
    assert run(steps, begun, "--keep", "--only", "N-4") == 0
    assert runs(begun) == ["N-N-4"]
    after = cells(begun)
    assert after[:3] == before
    assert [cell["labels"]["N"] for cell in after] == [2, 2, 2, 4, 4, 4]
    shutil.rmtree(begun / "runs")
    assert run(steps, begun, "--keep") == 0
    assert cells(begun) == after
    assert runs(begun) == []


def test_what_is_of_another_commit_or_preset_cannot_stand_beside_it(begun: Path, capsys) -> None:
    of_commit(begun, "0123456789ab")
    assert run(steps, begun, "--keep") == 2
    told = capsys.readouterr().err
    assert "is of commit 0123456789ab" in told
    assert str(commit()) in told
    changed(begun, preset="cpu")
    assert run(steps, begun, "--keep") == 2
    assert "holds the preset cpu, not smoke" in capsys.readouterr().err


def test_a_cell_of_other_settings_is_measured_anew(
    begun: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "GRADS", ("aca", "symplectic", "adjoint"))
    monkeypatch.setattr(Session, "lose_nothing", lambda *_: None)
    assert run(steps, begun, "--keep", "--only", "N-2") == 1
    assert [cell["record"]["grad"] for cell in cells(begun)] == [
        "aca",
        "adjoint",
        "symplectic",
        "symplectic_revolve",
    ]


def test_an_interrupt_loses_nothing(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cells(begun)

    def interrupted(_: Sweep) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sweep, "run", interrupted)
    assert run(steps, begun, "--keep") == 130
    assert cells(begun) == before


def test_cells_of_this_commit_are_not_written_over(
    begun: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("harness.results.commit", lambda: "0123456789ab")
    of_commit(begun, "0123456789ab")
    before = (begun / FILE).read_text()
    assert run(steps, begun, "--only", "N-4") == 2
    assert "has 3 cells of this commit" in capsys.readouterr().err
    # Kept cells that no command has: measured with other options.
    changed(begun, cells=[{**cell, "fingerprint": "other"} for cell in cells(begun)])
    assert run(steps, begun, "--keep") == 2
    (begun / FILE).write_text(before)
    assert runs(begun) == []


@pytest.mark.heavy
def test_weights_are_trained_again_only_where_something_needs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr(rounding, "GRADS", ("backprop", "symplectic"))
    assert run(rounding, tmp_path) == 0
    whole = cells(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    assert run(rounding, tmp_path, "--keep") == 0
    assert runs(tmp_path) == []
    last = [cell for cell in whole if cell["fingerprint"] == whole[-1]["fingerprint"]]
    changed(tmp_path, cells=whole[: -len(last)])
    assert run(rounding, tmp_path, "--keep") == 0
    assert len(runs(tmp_path)) == 2, "the training and the benchmark that was missing"
    assert cells(tmp_path)[: -len(last)] == whole[: -len(last)]


@pytest.mark.heavy
def test_a_kept_training_is_run_again_for_its_weights_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    experiment = rounding.EXPERIMENT
    preset = experiment.presets["smoke"]

    def shown(arguments: Any) -> Any:
        made = preset(arguments)
        return replace(made, commands=[*made.prepare, *made.commands], prepare=())

    own = replace(experiment, presets={"smoke": shown}, report=lambda results: Drawn())
    monkeypatch.setattr(rounding, "EXPERIMENT", own)
    assert run(rounding, tmp_path, "--only", "training") == 1
    before = cells(tmp_path)
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert run(rounding, tmp_path, "--keep") == 0
    assert "training: kept, but its weights are gone: again, for" in capsys.readouterr().out
    assert cells(tmp_path)[: len(before)] == before


def test_a_fingerprint_is_of_what_is_run_and_not_of_where() -> None:
    first, second, *_ = rounding.smoke(None).commands  # pyright: ignore[reportArgumentType]
    here, there = Path("runs"), Path("/other/place")
    assert first.fingerprint(here) == first.fingerprint(there)
    assert first.fingerprint(here) != second.fingerprint(here)
    assert first.weights is not None
    longer = replace(first.weights, overrides=(*first.weights.overrides, "train.steps=3"))
    assert replace(first, weights=longer).fingerprint(here) != first.fingerprint(here)


def test_of_a_users_file_the_name_counts_alone() -> None:
    def printed(path: str) -> str:
        command = Command("train", ("data=csv", f"data.path={path}"), {"data": "mine"})
        return command.fingerprint(Path("runs"))

    assert printed("/home/me/rows.npy") == printed("/data/rows.npy")
    assert printed("/data/rows.npy") != printed("/data/others.npy")
