"""A sweep over a launcher that answers from a script: order, failures, tries, interrupts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest

from symadj.launch.job import Job, Outcome
from symadj.launch.launcher import Unusable
from symadj.launch.sweep import run_sweep
from symadj.records.status import Status

OK = Outcome(Status.OK, note="a note")
KILLED = Outcome(Status.INTERRUPTED, "killed", again=True)


class Scripted:
    """A launcher whose jobs end as `answer(number, try)` says."""

    def __init__(
        self, answer: Callable[[int, int], Outcome], workers: int = 1, retries: int = 0
    ) -> None:
        self.workers, self.retries = workers, retries
        self.answer = answer
        self.tried: list[int] = []
        self.most = 0
        self.closed = False
        self.waiting: list[tuple[Future[Outcome], Outcome]] = []

    def submit(self, job: Job) -> Future[Outcome]:
        number = job.config["n"]
        future: Future[Outcome] = Future()
        outcome = self.answer(number, self.tried.count(number))
        self.tried.append(number)
        self.waiting.append((future, outcome))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == self.workers or number == 3:
            for waiting, answer in self.waiting:
                waiting.set_result(answer)
            self.waiting = []
        return future

    def close(self) -> None:
        self.closed = True
        for future, _ in self.waiting:
            future.set_result(Outcome(Status.INTERRUPTED, "asked to end", again=True))


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    return [
        Job("train", {"n": n, "out": str(tmp_path / "out")}, (f"n={n}",), f"n={n}")
        for n in range(4)
    ]


def test_no_job_ends_the_sweep_and_failures_are_told_at_once(
    jobs: list[Job], capsys: pytest.CaptureFixture
) -> None:
    answers = {1: Outcome(Status.OUT_OF_MEMORY, "too much"), 2: Outcome(Status.NONFINITE, "bad")}
    outcomes = run_sweep(jobs, Scripted(lambda n, _: answers.get(n, OK)))
    assert [outcome.status for outcome in outcomes] == ["ok", "oom", "nonfinite", "ok"]
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "job 2 of 4 failed (oom): too much",
        "job 3 of 4 failed (nonfinite): bad",
    ]
    assert "sweep: 4 jobs, 2 ok, 2 failed" in out
    assert out.splitlines()[-1].split() == ["ok", "n=3", "(a", "note)"]


@pytest.mark.parametrize("workers", [1, 2, 3, 9])
def test_no_more_jobs_run_at_once_than_there_are_workers(jobs: list[Job], workers: int) -> None:
    launcher = Scripted(lambda n, _: OK, workers)
    assert run_sweep(jobs, launcher) == [OK] * 4
    assert launcher.tried == [0, 1, 2, 3]
    assert launcher.most == min(workers, 4)
    assert launcher.closed


def test_a_job_whose_process_died_is_tried_again_and_others_are_not(
    jobs: list[Job], capsys: pytest.CaptureFixture
) -> None:
    def answer(number: int, tries: int) -> Outcome:
        if number == 1:
            return KILLED if tries < 2 else OK
        return {2: KILLED, 3: Outcome(Status.NONFINITE)}.get(number, OK)

    launcher = Scripted(answer, retries=2)
    outcomes = run_sweep(jobs, launcher)
    assert launcher.tried == [0, 1, 1, 1, 2, 2, 2, 3]
    assert [outcome.status for outcome in outcomes] == ["ok", "ok", "interrupted", "nonfinite"]
    assert "[2/4] interrupted, tried again: killed" in capsys.readouterr().err


def test_what_a_launcher_cannot_start_is_that_jobs_failure(jobs: list[Job]) -> None:
    def fail(number: int, tries: int) -> Outcome:
        if number == 1:
            raise OSError("no more processes")
        return OK

    outcomes = run_sweep(jobs, Scripted(fail))
    assert [outcome.status for outcome in outcomes] == ["ok", "error", "ok", "ok"]
    assert "no more processes" in outcomes[1].message


def test_a_launcher_that_can_start_nothing_ends_the_sweep(
    jobs: list[Job], capsys: pytest.CaptureFixture
) -> None:
    def fail(number: int, tries: int) -> Outcome:
        raise Unusable("no cluster")

    launcher = Scripted(fail)
    with pytest.raises(Unusable):
        run_sweep(jobs, launcher)
    assert launcher.closed
    assert capsys.readouterr().out.count("not run") == 4


def test_ctrl_c_ends_it_with_a_table_of_what_was_done(
    jobs: list[Job], capsys: pytest.CaptureFixture
) -> None:
    def stop(number: int, tries: int) -> Outcome:
        if number == 3:
            raise KeyboardInterrupt
        return OK

    launcher = Scripted(stop, workers=4, retries=5)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(jobs, launcher)
    assert launcher.closed
    assert launcher.tried == [0, 1, 2], "nothing is tried again once the sweep ends"
    table = capsys.readouterr().out.partition("sweep:")[2].splitlines()[1:]
    assert [line.split()[0] for line in table] == ["interrupted"] * 3 + ["not"]
