"""A sweep on two workers that is killed again and again does every job once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from symadj.records.record import RunRecord
from tests.faults.runs import FLOW
from tests.faults.test_signals import descendants

JOBS = 40


def sweep(out: Path) -> list[str]:
    words = [*FLOW, "train.eval_every=1", f"seed=range(0,{JOBS})", f"out={out}"]
    command = [sys.executable, "-m", "symadj.cli.train", "-m", *words]
    return [*command, "launcher.workers=2", "launcher.retries=3"]


def done(out: Path) -> int:
    return sum('"status": "ok"' in path.read_text() for path in out.glob("*/record.json"))


def jobs_of(driver: int) -> list[int]:
    """The processes that are at jobs: they have sessions of their own below the driver's server."""
    return [pid for pid in descendants(driver) if os.getpgid(pid) == pid]


@pytest.mark.heavy
def test_a_sweep_that_is_killed_at_random_moments_does_every_job_once(tmp_path: Path) -> None:
    moments = random.Random(20)
    for kill in (signal.SIGKILL, signal.SIGTERM):
        before = done(tmp_path)
        started = subprocess.Popen(sweep(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while started.poll() is None and done(tmp_path) < before + moments.randint(3, 9):
            time.sleep(moments.uniform(0.2, 0.5))
            with suppress(OSError, IndexError):  # it may have ended a moment ago
                if moments.random() < 0.1:
                    os.kill(moments.choice(jobs_of(started.pid)), signal.SIGKILL)
        workers = jobs_of(started.pid)
        started.send_signal(kill)
        started.communicate(timeout=60)
        for pid in workers:
            wait_for_the_end_of(pid)
    assert 0 < done(tmp_path) < JOBS

    last = subprocess.run(sweep(tmp_path), capture_output=True, text=True, timeout=300)
    assert last.returncode == 0, last.stderr
    table = last.stdout.partition("sweep: ")[2].splitlines()
    assert table[0] == f"{JOBS} jobs, {JOBS} ok, 0 failed"
    assert sorted(line.split()[:2] for line in table[1:]) == sorted(
        ["ok", f"seed={seed}"] for seed in range(JOBS)
    )
    records = [RunRecord.load(path) for path in tmp_path.glob("*/record.json")]
    assert sorted(record.seed for record in records) == list(range(JOBS))
    assert {record.status for record in records} == {"ok"}
    assert {record.iterations for record in records} == {6}


def wait_for_the_end_of(pid: int) -> None:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, "a job outlives its sweep"
        time.sleep(0.02)
