"""Signals, time limits and further sittings of a run: what is kept, and what stays as it was."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from symadj.errors import InputError
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from symadj.run import loop
from symadj.run.checkpoint import load_checkpoint, load_tensors
from symadj.run.train import train
from symadj.run.trained import load_trained
from tests.standins import Shrink, losses, standin_config, train_quietly


def planted(monkeypatch: pytest.MonkeyPatch, act: Any, at: int) -> None:
    """Has `act` called in the stand-in's loss of that number."""
    loss, done = Shrink.loss, []

    def acting(self: Shrink, *args: Any) -> torch.Tensor:
        done.append(1)
        if len(done) == at:
            act()
        return loss(self, *args)

    monkeypatch.setattr(Shrink, "loss", acting)


def test_a_checkpoint_is_saved_when_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []

    def look() -> None:
        directory = tmp_path / "a"
        checkpoint = load_checkpoint(directory / "checkpoint.pt")["progress"]["iteration"]
        seen.append((checkpoint, RunRecord.load(directory / "record.json").iterations))

    settings = ("name=a", "train.eval_every=6")
    with monkeypatch.context() as patch:
        planted(patch, lambda: os.kill(os.getpid(), signal.SIGUSR1), 3)
        planted(patch, look, 4)
        record, _ = train_quietly(tmp_path, *settings)
    assert (record.status, seen) == ("ok", [(3, 3)])
    _, straight = train_quietly(tmp_path / "straight", *settings)
    assert losses(tmp_path / "a") == losses(straight)


def test_a_time_limit_reaches_into_an_iteration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LENIENCE", 0.05)
    with monkeypatch.context() as patch:
        planted(patch, lambda: time.sleep(60), 4)
        record, directory = train_quietly(tmp_path, "train.max_seconds=0.5", "train.steps=2000")
    assert (record.status, record.iterations) == ("ok", 3)
    assert read_history(directory / "history.csv")["val_nll"].notna().tolist() == [
        False,
        True,
        True,
    ]
    assert load_checkpoint(directory / "checkpoint.pt")["progress"]["validated"] == 3


def test_a_time_limit_before_the_first_iteration_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LENIENCE", 0.05)
    planted(monkeypatch, lambda: time.sleep(60), 1)
    record, _ = train_quietly(tmp_path, "train.max_seconds=0.1")
    assert (record.status, record.iterations) == ("interrupted", 0)
    assert record.error is not None
    assert "before the first iteration had ended" in record.error["message"]


@pytest.mark.parametrize("extra", [[], ["train.ema=0.5"]])
def test_a_killed_runs_weights_are_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: list[str]
) -> None:
    config = ["optim.lr=2", "train.eval_every=1", "train.steps=8", "seed=2", *extra]
    record, whole = train_quietly(tmp_path, *config)
    best = load_tensors(whole / "best.pt")
    assert best["iteration"] < record.iterations
    (whole / "best.pt").unlink()  # as a kill before the end leaves it
    trained = load_trained(whole, trusted=["tests.standins"])
    assert trained.iteration == best["iteration"]
    for name, weight in trained.parts.model.state_dict().items():
        assert torch.equal(weight, best["model"][name])


def test_before_any_validation_the_averaged_weights_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted(monkeypatch, lambda: os.kill(os.getpid(), signal.SIGINT), 3)
    with pytest.raises(KeyboardInterrupt):
        train_quietly(tmp_path, "train.ema=0.5", "train.eval_every=6", "name=a")
    state = load_checkpoint(tmp_path / "a/checkpoint.pt")
    trained = load_trained(tmp_path / "a", trusted=["tests.standins"])
    assert trained.iteration == state["progress"]["iteration"] == 2
    for weight, average in zip(trained.parts.model.parameters(), state["average"], strict=True):
        assert torch.equal(weight, average)


def test_a_resume_that_is_refused_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    _, directory = train_quietly(tmp_path)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    for wrong in ("device=cuda:7", "train.steps=3"):
        with pytest.raises(InputError):
            train(standin_config(tmp_path, wrong, f"resume={directory}"))
    assert {path: path.read_bytes() for path in directory.iterdir()} == before


def test_a_resume_that_fails_before_its_first_iteration_leaves_the_run_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, directory = train_quietly(tmp_path, "task.fail_at=1")
    before = {path: path.read_bytes() for path in directory.iterdir()}
    monkeypatch.setenv("STANDIN_FAIL", "nonfinite")
    again = ("train.steps=9", "task.fail_at=1", f"resume={directory}")
    assert train(standin_config(tmp_path, *again)).status == "nonfinite"
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert RunRecord.load(directory / "record.json") == old


def test_rows_that_an_earlier_sitting_lost_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    _, directory = train_quietly(tmp_path)
    lines = (directory / "history.csv").read_text().splitlines(keepends=True)
    (directory / "history.csv").write_text("".join(lines[:3] + lines[5:]))
    train(standin_config(tmp_path, "train.steps=7", f"resume={directory}"))
    assert "lacks 2 of the 6 iterations before (the first is 3)" in capsys.readouterr().out
