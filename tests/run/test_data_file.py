"""The user's own data file: another one is noticed, a moved one is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from symadj.cli import evaluate, train
from symadj.records.record import RunRecord

SMALL = [
    *("data=csv", "model.hidden=[4]", "train.steps=2", "train.eval_every=1", "measure=none"),
    *("train.batch_size=8", "train.figures=false", "train.test=false"),
]


def table(path: Path, rows: int = 40) -> Path:
    np.savetxt(path, np.random.default_rng(0).normal(size=(rows, 2)), delimiter=",")
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = table(tmp_path / "a.csv")
    assert train.main([*SMALL, f"data.path={path}", f"out={tmp_path}", "name=r"]) == 0
    return tmp_path / "r"


def test_the_record_says_which_file_it_was(run: Path) -> None:
    file = RunRecord.load(run / "record.json").data["file"]
    assert file["path"] == str(run.parent / "a.csv")
    assert file["size"] == (run.parent / "a.csv").stat().st_size
    assert len(file["sha256"]) == 64


def test_a_file_that_has_changed_is_noticed(run: Path, capsys: pytest.CaptureFixture) -> None:
    table(run.parent / "a.csv", rows=30)
    before = (run / "record.json").read_bytes()
    for main, line in (
        (train.main, [f"resume={run}", "train.steps=4"]),
        (evaluate.main, [str(run)]),
    ):
        assert main(line) == 2
        assert f"is not the file that {run} was trained on" in capsys.readouterr().err
    assert (run / "record.json").read_bytes() == before


def test_a_file_that_has_moved_is_named(run: Path, capsys: pytest.CaptureFixture) -> None:
    moved = (run.parent / "a.csv").rename(run.parent / "b.csv")
    assert evaluate.main([str(run)]) == 2
    assert "no such file" in capsys.readouterr().err
    assert evaluate.main([str(run), f"data.path={moved}", "exact=false"]) == 0
    assert train.main([f"resume={run}", "train.steps=4", f"data.path={moved}"]) == 0
    record = RunRecord.load(run / "record.json")
    assert (record.status, record.iterations) == ("ok", 4)
    assert record.config["data"]["path"] == str(moved)
