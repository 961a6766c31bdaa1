"""Signals, streams that go away, and other processes: how a command ends, and what it has saved."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from symadj.records.record import RunRecord
from tests.faults.runs import (
    FLOW,
    check_sound,
    command,
    flow,
    iterations,
    outcome,
    progress,
    resume,
)

# Long enough to be met at work; the first iterations are saved at once.
LONG = ("train.steps=100000", "train.max_seconds=null", "train.eval_every=1")
PATIENCE = 60.0


def shell(words: Sequence[object]) -> str:
    """A command line of symadj as a shell takes it, its first word without "symadj-"."""
    name, *arguments = words
    module = {"eval": "evaluate"}.get(str(name), str(name))
    return shlex.join([sys.executable, "-m", f"symadj.cli.{module}", *map(str, arguments)])


@contextmanager
def process(words: Sequence[object], tail: str = "") -> Iterator[subprocess.Popen[str]]:
    """A command in a process group of its own, which is gone when the block is."""
    started = subprocess.Popen(
        ["bash", "-c", f"{'' if tail else 'exec '}{shell(words)}{tail}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.communicate(timeout=PATIENCE)


def until(true: Callable[[], object]) -> None:
    """Waits for something to become true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def rows(run: Path) -> int:
    return len(iterations(run))


def ended(started: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = started.communicate(timeout=PATIENCE)
    return started.returncode, out, err


@pytest.mark.parametrize(
    ("tail", "sweep"),
    [
        (" 2>&1 | head -1", []),
        pytest.param(" 2>&-", [], marks=pytest.mark.faults),
        pytest.param(" >&- 2>&-", ["-m"], marks=pytest.mark.faults),
        pytest.param(" | head -1", ["-m"], marks=pytest.mark.faults),
    ],
)
def test_streams_that_go_away_end_nothing(tmp_path: Path, tail: str, sweep: list[str]) -> None:
    name, *words = flow(tmp_path)
    with process([name, *sweep, *words], f"{tail}; exit ${{PIPESTATUS[0]}}") as run:
        code, out, err = ended(run)
    assert (code, "Traceback" in out + err) == (0, False), out + err
    assert RunRecord.load(tmp_path / "run" / "record.json").status == "ok"


@pytest.mark.parametrize(
    ("gone", "sweep"),
    [
        ((1, 2), ["-m"]),
        *(
            pytest.param(gone, sweep, marks=pytest.mark.faults)
            for gone, sweep in (((1,), []), ((2,), []), ((1, 2), []), ((1,), ["-m"]))
        ),
    ],
)
def test_a_full_disk_behind_the_streams_ends_nothing(
    tmp_path: Path, gone: tuple[int, ...], sweep: list[str]
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    name, *words = flow(tmp_path)
    done = command([name, *sweep, *words], before=lambda: [os.dup2(full, fd) for fd in gone])
    os.close(full)
    assert (done.code, "Traceback" in done.text) == (0, False), done.text
    assert RunRecord.load(tmp_path / "run" / "record.json").status == "ok"


@pytest.mark.faults
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_that_ends_a_run_saves_it(tmp_path: Path, signum: int, code: int) -> None:
    run = tmp_path / "run"
    with process(flow(tmp_path, *LONG)) as started:
        until(lambda: rows(run) > 2)
        started.send_signal(signum)
        assert_ending(ended(started), code)
    check_sound(run)
    record = RunRecord.load(run / "record.json")
    assert (record.status, record.iterations) == ("interrupted", progress(run))
    assert record.iterations == rows(run) > 2
    assert record.finished is not None


def assert_ending(found: tuple[int, str, str], code: int) -> None:
    assert (found[0], "Traceback" in found[1] + found[2]) == (code, False), found


@pytest.mark.faults
def test_sigusr1_saves_a_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with process(flow(tmp_path, *LONG, "train.eval_every=1000000")) as started:
        until(lambda: rows(run) > 5)
        assert progress(run) == 0
        started.send_signal(signal.SIGUSR1)
        until(lambda: progress(run) > 5)
        saved, seen = progress(run), rows(run)
        assert rows(run) >= saved
        until(lambda: rows(run) > seen + 5)
        started.send_signal(signal.SIGINT)
        assert_ending(ended(started), 130)


@pytest.mark.faults
def test_three_times_ctrl_c_ends_at_once_and_quietly(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with process(flow(tmp_path, *LONG)) as started:
        until(lambda: rows(run) > 2)
        for _ in range(3):
            started.send_signal(signal.SIGINT)
            time.sleep(0.01)
        assert_ending(ended(started), 130)
    check_sound(run)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def descendants(pid: int) -> list[int]:
    return [deeper for child in children(pid) for deeper in (child, *descendants(child))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.faults
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_no_isolated_job_outlives_its_sweep(tmp_path: Path, signum: int) -> None:
    name, *words = flow(tmp_path, *LONG)
    with process([name, "-m", *words]) as started:
        until(lambda: rows(tmp_path / "run") > 2)
        below = descendants(started.pid)
        started.send_signal(signum)
        ended(started)
        until(lambda: not any(map(alive, below)))
    check_sound(tmp_path / "run")
    assert RunRecord.load(tmp_path / "run" / "record.json").status == "interrupted"


@pytest.mark.faults
def test_two_processes_on_one_sweep_do_each_job_once(tmp_path: Path) -> None:
    words = ["train", "-m", *FLOW, f"out={tmp_path}", "train.steps=20", "seed=0,1,2,3"]
    with process(words) as first, process(words) as second:
        for started in (first, second):
            assert_ending(ended(started), 0)
    found = [RunRecord.load(path) for path in tmp_path.glob("*/record.json")]
    assert sorted(record.seed for record in found) == [0, 1, 2, 3]
    assert {record.status for record in found} == {"ok"}


@pytest.mark.faults
@pytest.mark.parametrize("limit", ["time", "signal"])
def test_limits_reach_into_a_solve(tmp_path: Path, limit: str) -> None:
    endless = ("solver.num_steps=1000000", "solver.max_steps=1000000")
    bound = "1" if limit == "time" else "null"
    with process(flow(tmp_path, *endless, f"train.max_seconds={bound}")) as started:
        if limit == "signal":
            until(lambda: (tmp_path / "run" / "checkpoint.pt").exists())
            time.sleep(0.3)
            started.send_signal(signal.SIGINT)
        code, out, err = ended(started)
    record = RunRecord.load(tmp_path / "run" / "record.json")
    assert "Traceback" not in out + err
    assert (code, record.status) == (1 if limit == "time" else 130, "interrupted")
    assert limit == "signal" or "train.max_seconds" in err


@pytest.mark.faults
def test_a_directory_that_is_deleted_under_a_run_is_told(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with process(flow(tmp_path, *LONG)) as started:
        until(lambda: rows(run) > 2)
        run.rename(tmp_path / "gone")
        code, out, err = ended(started)
    assert (code, "Traceback" in out + err) == (1, False), out + err
    assert str(run) in err
    check_sound(tmp_path / "gone")
    assert not run.exists()


WRONG_KINDS = [("eval", "eval"), ("sample", "samples"), ("resume", "log.txt"), ("resume", "plots")]


@pytest.mark.parametrize(("reader", "name"), WRONG_KINDS)
def test_a_file_of_the_wrong_kind_in_a_run_is_named(
    tmp_path: Path, finished: Path, reader: str, name: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir() if "." in name else (run / name).write_text("")
    words = (
        resume(run, "train.steps=9", "train.figures=true") if reader == "resume" else [reader, run]
    )
    done = command(words)
    assert (done.code, "Traceback" in done.text) == (2, False), done.text
    assert str(run / name) in done.err


# Runs that end with 1, each for another reason.
FAILING = {
    "memory": ("grad=auto", "grad.memory=1KiB"),
    "solve": ("optim.lr=1e3", "model.T=1e6", "model.activation=square"),
    "storage": ("grad.offload=disk", "grad.offload_dir=/proc"),
    "steps": ("solver=dopri5", "solver.rtol=1e-9", "solver.max_steps=2"),
    "budget": ("measure=default", "measure.memory=dispatch", "measure.memory_budget=1KiB"),
}


@pytest.mark.parametrize("case", FAILING)
@pytest.mark.parametrize(
    "sweep",
    [pytest.param(False, id="run"), pytest.param(True, id="sweep", marks=pytest.mark.faults)],
)
def test_a_command_that_fails_says_what_its_record_says(
    tmp_path: Path, case: str, sweep: bool
) -> None:
    name, *words = flow(tmp_path)
    drop = "solver.num_steps" if case == "steps" else "nothing"
    words = [word for word in words if not word.startswith(drop)]
    done = command([name, *(["-m"] if sweep else []), *words, *FAILING[case]])
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert (done.code, "Traceback" in done.text) == (1, False), done.text
    assert record["status"] not in ("ok", "interrupted")
    said = re.sub(r"\s+", " ", done.err)
    assert record["status"] in said
    assert re.sub(r"\s+", " ", record["error"]["message"]) in said


def test_a_run_whose_directory_cannot_be_read_is_refused(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / "record.json").unlink()
    for words in (resume(run), ["eval", tmp_path / "none"], ["sample", tmp_path / "none"]):
        done = command(words)
        assert (done.code, "Traceback" in done.text) == (2, False), done.text
    assert outcome(finished)["status"][0] == "ok"
