"""An experiment in one process: what was measured before an interrupt is kept, and only then."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness import Drawn, Sheet
from harness import at_once as at_once_module
from harness.at_once import KEPT, AtOnce, Groups, main
from harness.results import FILE

CLEAN = "0123456789ab"


class Counting:
    """An experiment of three groups that notes what it measures, and may be interrupted."""

    def __init__(self, stop_at: str = "") -> None:
        self.stop_at = stop_at
        self.measured: list[str] = []
        presets = {"cpu": self.groups, "smoke": self.groups}
        self.experiment = AtOnce(
            "counting",
            "counts",
            presets,
            {},
            lambda results: self.drawn(results.runs),
            lambda _: [],
        )

    def groups(self, runs: Path) -> Groups:
        assert runs.name == "runs"
        return {name: partial(self.points, name) for name in ("first", "second", "third")}

    def points(self, name: str) -> Iterator[dict[str, Any]]:
        self.measured.append(name)
        yield {"group": name, "value": 0.1 + len(name)}
        if name == self.stop_at:
            raise KeyboardInterrupt
        yield {"group": name, "value": math.nan}

    def drawn(self, points: pd.DataFrame) -> Drawn:
        return Drawn([Sheet("points", points.astype(str).set_index("group"))])


@pytest.fixture(autouse=True)
def _one_thread_and_no_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_once_module.torch, "set_num_threads", lambda _: None)
    at_commit(CLEAN, monkeypatch)


def at_commit(commit: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    around = {
        "commit": commit,
        "threads": 1,
        "device_name": "a processor",
        "command": "never the same",
    }
    monkeypatch.setattr(at_once_module, "environment", lambda _: around)


def record(out: Path) -> dict[str, Any]:
    kept = json.loads((out / FILE).read_text().replace("NaN", "null"))
    del kept["written"]
    return kept


def run(experiment: AtOnce, out: Path, preset: str = "cpu") -> int:
    return main(experiment, ["--preset", preset, "--out", str(out)])


def test_what_was_measured_before_an_interrupt_is_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run(Counting().experiment, whole) == 0
    assert run(Counting("second").experiment, cut) == 130
    assert "the same command goes on from here" in capsys.readouterr().err
    assert sorted(path.name for path in cut.iterdir()) == [KEPT]
    again = Counting()
    assert run(again.experiment, cut) == 0
    assert again.measured == ["second", "third"]
    assert "1 group is measured already: it is kept" in capsys.readouterr().out
    assert record(cut) == record(whole)
    assert len(record(cut)["points"]) == 6
    assert not (cut / KEPT).exists()


@pytest.mark.parametrize(
    ("before", "after", "preset"),
    [
        (CLEAN, "ba9876543210", "cpu"),
        (CLEAN, CLEAN, "smoke"),
        (f"{CLEAN}-dirty", f"{CLEAN}-dirty", "cpu"),
        (None, None, "cpu"),
    ],
)
def test_points_of_other_code_or_another_preset_are_measured_anew(
    before: str | None,
    after: str | None,
    preset: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at_commit(before, monkeypatch)
    assert run(Counting("third").experiment, tmp_path) == 130
    at_commit(after, monkeypatch)
    again = Counting()
    assert run(again.experiment, tmp_path, preset) == 0
    assert again.measured == ["first", "second", "third"]
    assert "all is measured anew" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[1]", '{"schema": 1}', "null"])
def test_a_damaged_file_of_kept_groups_is_measured_anew(text: str, tmp_path: Path, capsys) -> None:
    (tmp_path / KEPT).write_text(text)
    again = Counting()
    assert run(again.experiment, tmp_path) == 0
    assert again.measured == ["first", "second", "third"]
    assert "cannot be read" in capsys.readouterr().out
