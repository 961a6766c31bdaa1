from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from symadj.launch.index import claimed, runs_of
from symadj.launch.job import Job, Outcome, identity
from symadj.launch.launcher import InlineLauncher, Launcher, ProcessLauncher
from symadj.launch.run import run_job
from symadj.launch.sweep import with_former_runs
from symadj.records.record import RunRecord
from symadj.records.status import Status
from symadj.run.directory import sole_user
from tests.bench.small import small
from tests.standins import losses, standin_config, train_quietly


def job(out: Path, *overrides: str) -> Job:
    config = dict(standin_config(out, *overrides))
    del config["launcher"]
    (found,) = with_former_runs([Job("train", config, overrides)])
    return found


def runs(out: Path) -> list[Path]:
    return sorted(path.parent for path in out.glob("*/record.json"))


def test_a_finished_job_is_skipped_and_left_as_it_is(tmp_path: Path) -> None:
    assert run_job(job(tmp_path, "seed=3")).status == "ok"
    [directory] = runs(tmp_path)
    before = (directory / "record.json").read_bytes()
    again = run_job(job(tmp_path, "seed=3", "name=other"))
    assert (again, again.note) == (Outcome(Status.OK), f"finished before: {directory}")
    assert runs(tmp_path) == [directory]
    assert (directory / "record.json").read_bytes() == before


def test_another_configuration_is_another_job(tmp_path: Path) -> None:
    for overrides in (["seed=3"], ["seed=4"], ["seed=3", "train.steps=7"], ["seed=3", "grad=aca"]):
        assert run_job(job(tmp_path, *overrides)) == Outcome(Status.OK)
    assert len(runs(tmp_path)) == 4


def test_where_data_lie_is_no_part_of_an_experiment() -> None:
    here, there = ({"seed": 1, "data": {"name": "a", "data_dir": d}} for d in ("/old", None))
    other = {"seed": 1, "data": {"name": "b", "data_dir": "/old"}}
    assert identity("train", here) == identity("train", there) != identity("train", other)


def test_fresh_runs_it_again_beside_the_old_one(tmp_path: Path) -> None:
    run_job(job(tmp_path, "name=a"))
    assert run_job(job(tmp_path, "name=a", "fresh=true")) == Outcome(Status.OK)
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


@pytest.mark.parametrize("fail", ["oom", "nonfinite", "bug"])
def test_a_failed_job_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: str
) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    monkeypatch.setenv("STANDIN_FAIL", fail)
    out = tmp_path / "out"
    assert run_job(job(out, "name=a")).failed
    monkeypatch.delenv("STANDIN_FAIL")
    assert run_job(job(out, "name=a")).note == f"resumed: {out / 'a'}"
    assert runs(out) == [out / "a"]
    assert losses(out / "a") == losses(straight)


def test_a_job_that_failed_before_its_first_checkpoint_is_run_anew(tmp_path: Path) -> None:
    for _ in range(2):
        outcome = run_job(job(tmp_path, "name=a", "solver=rk4"))
        assert outcome.status == "incompatible"
        assert "num_steps" in outcome.message
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


def test_a_job_that_was_killed_before_its_first_checkpoint_starts_anew_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run_job(job(tmp_path, "name=a"))
    record = RunRecord.load(tmp_path / "a/record.json")
    record.status, record.iterations = Status.INTERRUPTED, 0
    record.save(tmp_path / "a/record.json")
    for name in ("checkpoint.pt", "best.pt", "history.csv"):
        (tmp_path / "a" / name).unlink()
    assert run_job(job(tmp_path, "name=a")).status == "ok"
    assert "starts anew, in place" in capsys.readouterr().out
    assert runs(tmp_path) == [tmp_path / "a"]
    assert len(losses(tmp_path / "a")) == 6


def test_a_job_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    monkeypatch.setenv("STANDIN_FAIL", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        run_job(job(tmp_path / "out"))
    monkeypatch.delenv("STANDIN_FAIL")
    [directory] = runs(tmp_path / "out")
    assert run_job(job(tmp_path / "out")).note == f"resumed: {directory}"
    assert runs(tmp_path / "out") == [directory]
    assert losses(directory) == losses(straight)


def test_a_cut_off_job_without_a_sound_checkpoint_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAIL", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        run_job(job(tmp_path, "name=a"))
    monkeypatch.delenv("STANDIN_FAIL")
    (tmp_path / "a/checkpoint.pt").write_bytes(b"torn")
    assert run_job(job(tmp_path, "name=a")) == Outcome(Status.OK)
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


def test_a_job_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    run_job(job(tmp_path, "name=a"))
    record = RunRecord.load(tmp_path / "a/record.json")
    record.status = Status("interrupted")
    record.save(tmp_path / "a/record.json")
    with sole_user(tmp_path / "a"):
        assert run_job(job(tmp_path)).status == "running"
    assert len(runs(tmp_path)) == 1


def test_a_job_that_another_sweep_is_at_is_left_to_it(tmp_path: Path) -> None:
    wanted = job(tmp_path)
    with claimed(wanted) as claim:
        assert claim is not None
        outcome = run_job(wanted)
    assert outcome.status == "running"
    assert not outcome.failed
    assert runs(tmp_path) == []


def test_a_job_that_was_moved_waits_for_its_former_process_to_let_go(tmp_path: Path) -> None:
    wanted, taken = job(tmp_path), threading.Event()

    def former() -> None:
        with claimed(wanted):
            taken.set()
            time.sleep(0.7)

    thread = threading.Thread(target=former)
    thread.start()
    assert taken.wait(60)
    assert run_job(wanted, patience=60.0).status == "ok"
    thread.join()


def test_records_that_are_none_or_of_another_schema_do_not_count(tmp_path: Path) -> None:
    run_job(job(tmp_path, "name=a"))
    path = tmp_path / "a/record.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 0'))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/record.json").write_text("{torn")
    assert runs_of(job(tmp_path)) == []
    assert runs_of(job(tmp_path / "nowhere")) == []
    assert run_job(job(tmp_path, "name=a")) == Outcome(Status.OK)
    assert (tmp_path / "a-2/record.json").is_file()


def test_names_and_places_are_no_part_of_what_an_experiment_is(tmp_path: Path) -> None:
    plain = dict(job(tmp_path).config)
    elsewhere = {**plain, "name": "x", "out": "y", "fresh": True}
    assert identity("train", elsewhere) == identity("train", plain)
    assert identity("train", {**plain, "seed": 9}) != identity("train", plain)


def test_resume_makes_no_sense_in_a_sweep(tmp_path: Path) -> None:
    outcome = run_job(job(tmp_path, "resume=somewhere"))
    assert outcome.failed
    assert "a sweep goes on with its own" in outcome.message


@pytest.fixture(params=["inline", "process"])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    made = InlineLauncher() if request.param == "inline" else ProcessLauncher()
    yield made
    made.close()


def test_every_launcher_gives_the_same_losses(tmp_path: Path, launcher: Launcher) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    assert launcher.submit(job(tmp_path / "out")).result() == Outcome(Status.OK)
    [directory] = runs(tmp_path / "out")
    assert losses(directory) == losses(straight)


def test_every_launcher_tells_the_reason_of_a_failure(tmp_path: Path, launcher: Launcher) -> None:
    outcome = launcher.submit(job(tmp_path, "solver=rk4")).result()
    assert outcome.status == "incompatible"
    assert "num_steps" in outcome.message
    [directory] = runs(tmp_path)
    assert RunRecord.load(directory / "record.json").status == "incompatible"


def test_a_job_whose_process_is_killed_leaves_a_record_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, straight = train_quietly(tmp_path / "straight", "task.fail_at=4")
    monkeypatch.setenv("STANDIN_FAIL", "kill")
    outcome = ProcessLauncher().submit(job(tmp_path / "out", "task.fail_at=4")).result()
    assert outcome.status == "interrupted"
    assert outcome.again
    assert "killed by SIGKILL" in outcome.message
    [directory] = runs(tmp_path / "out")
    record = RunRecord.load(directory / "record.json")
    assert (record.status, record.finished is None) == ("interrupted", False)
    assert record.error is not None
    assert "SIGKILL" in record.error["message"]
    monkeypatch.delenv("STANDIN_FAIL")
    # In this process now: what it goes on with is the same.
    assert run_job(job(tmp_path / "out", "task.fail_at=4")).note == f"resumed: {directory}"
    assert losses(directory) == losses(straight)


def test_a_fresh_run_whose_process_is_killed_has_its_record_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_job(job(tmp_path, "name=a", "task.fail_at=4")) == Outcome(Status.OK)
    monkeypatch.setenv("STANDIN_FAIL", "kill")
    again = job(tmp_path, "name=a", "task.fail_at=4", "fresh=true")
    assert ProcessLauncher().submit(again).result().status == "interrupted"
    records = [RunRecord.load(run / "record.json") for run in runs(tmp_path)]
    assert [(r.status, r.error_type) for r in records] == [
        ("ok", ""),
        ("interrupted", "ProcessKilled"),
    ]


def bench_job(out: Path) -> Job:
    config = small("grads=[aca,symplectic]", f"out={out}", "name=b", "isolate=true")
    plain = {name: value for name, value in config.items() if name not in ("launcher", "search")}
    return with_former_runs([Job("bench", plain)])[0]


def test_a_benchmark_that_was_cut_off_measures_the_rows_that_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run_job(bench_job(tmp_path)) == Outcome(Status.OK)
    kept = (tmp_path / "b/aca/record.json").read_text()
    shutil.rmtree(tmp_path / "b/symplectic")
    shutil.rmtree(tmp_path / ".jobs")
    outcome = run_job(bench_job(tmp_path))
    assert (outcome, outcome.note) == (Outcome(Status.OK), f"resumed: {tmp_path / 'b'}")
    assert json.loads((tmp_path / "b/aca/record.json").read_text()) == json.loads(kept)
    assert RunRecord.load(tmp_path / "b/symplectic/record.json").name == "b/symplectic"
    assert "symplectic" in (tmp_path / "b/table.md").read_text()
    assert run_job(bench_job(tmp_path)).note == f"finished before: {tmp_path / 'b'}"
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["b"]
