from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from symadj.errors import MemoryBudgetExceeded
from symadj.launch.sweep import Job, Outcome, run_sweep
from symadj.records.status import Status

JOBS = [Job([f"n={n}"], OmegaConf.create({"n": n})) for n in range(4)]


def attempt(job: Job) -> Outcome:
    if job.config.n == 1:
        raise MemoryBudgetExceeded("too much")
    if job.config.n == 2:
        return Outcome(Status.NONFINITE, "diverged")
    return Outcome(Status.OK, note="a note")


def test_no_job_ends_the_sweep_and_failures_are_told_at_once(capsys: pytest.CaptureFixture) -> None:
    outcomes = run_sweep(JOBS, attempt)
    assert [outcome.status for outcome in outcomes] == ["ok", "oom", "nonfinite", "ok"]
    out, err = capsys.readouterr()
    assert err.splitlines() == [
        "job 2 of 4 failed (oom): MemoryBudgetExceeded: too much",
        "job 3 of 4 failed (nonfinite): diverged",
    ]
    assert "sweep: 4 jobs, 2 ok, 2 failed" in out
    assert out.splitlines()[-1].split() == ["ok", "n=3", "(a", "note)"]


def test_ctrl_c_ends_it_with_a_table_of_what_was_done(capsys: pytest.CaptureFixture) -> None:
    def stop(job: Job) -> Outcome:
        if job.config.n == 2:
            raise KeyboardInterrupt
        return Outcome(Status.OK)

    with pytest.raises(KeyboardInterrupt):
        run_sweep(JOBS, stop)
    table = capsys.readouterr().out.partition("sweep:")[2].splitlines()[1:]
    assert [line.split()[0] for line in table] == ["ok", "ok", "not", "not"]
