from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from symadj.launch.board import Board
from symadj.launch.job import Job, Outcome
from symadj.records.status import Status


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def job(out: Path, seed: int) -> Job:
    return Job("train", {"out": str(out), "train": {"steps": 50}}, (), f"seed={seed}")


GOOD = Outcome(Status.OK, metrics={"train/loss": 0.1, "val/nll": 2.5})
BETTER = Outcome(Status.OK, metrics={"val/nll": 1.25}, note="resumed: x")


def test_on_a_terminal_a_table_shows_what_runs_and_the_best_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Board(4) as board:
        for number in range(2):
            board.started(number, job(tmp_path, number))
        assert "0 of 4 jobs done, 2 running" in terminal.getvalue()
        assert "0/50 iterations  seed=1" in terminal.getvalue()
        board.ended(0, job(tmp_path, 0), GOOD)
        board.ended(1, job(tmp_path, 1), BETTER)
        board.started(2, job(tmp_path, 2))
        board.ended(3, job(tmp_path, 3), Outcome(Status.NONFINITE, "diverged"))
    last = "3 of 4 jobs done, 1 running, 1 failed, best val/nll 1.25 (seed=1), 0:00 left"
    assert last in terminal.getvalue()
    assert "job 4 of 4 failed (nonfinite): diverged" in terminal.getvalue()
    assert capsys.readouterr().out == ""


def test_elsewhere_a_line_tells_of_each_start_and_end(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with Board(3) as board:
        board.started(0, job(tmp_path, 0))
        board.ended(0, job(tmp_path, 0), BETTER)
        board.ended(1, job(tmp_path, 1), Outcome(Status.OK, note="finished before: y"))
        board.started(2, job(tmp_path, 2))
        board.tried(2, Outcome(Status.OUT_OF_MEMORY, "no memory"))
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "[1/3] seed=0",
        "[1/3] seed=0: ok, val/nll 1.25, 0:00, resumed: x",
        "[2/3] seed=1: ok, finished before: y",
        "[3/3] seed=2",
    ]
    assert err == "[3/3] oom, tried again: no memory\n"
