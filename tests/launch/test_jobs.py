from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from symadj.config.compose import resolved
from symadj.errors import InputError
from symadj.launch.jobs import former_run, identity, train_job
from symadj.launch.sweep import Job, Outcome
from symadj.records.record import RunRecord
from symadj.records.status import Status
from symadj.run.directory import sole_user, sole_worker
from tests.standins import losses, standin_config, train_quietly


def job(out: Path, *overrides: str) -> Job:
    return Job(overrides, resolved(standin_config(out, *overrides)))


def runs(out: Path) -> list[Path]:
    return sorted(path.parent for path in out.glob("*/record.json"))


def test_a_finished_job_is_skipped_and_left_as_it_is(tmp_path: Path) -> None:
    assert train_job(job(tmp_path, "seed=3")).status == "ok"
    [directory] = runs(tmp_path)
    before = (directory / "record.json").read_bytes()
    again = train_job(job(tmp_path, "seed=3", "name=other", "isolate=true"))
    assert again == Outcome(Status.OK, note=f"finished before: {directory}")
    assert runs(tmp_path) == [directory]
    assert (directory / "record.json").read_bytes() == before


def test_another_configuration_is_another_job(tmp_path: Path) -> None:
    for overrides in (["seed=3"], ["seed=4"], ["seed=3", "train.steps=7"], ["seed=3", "grad=aca"]):
        assert train_job(job(tmp_path, *overrides)) == Outcome(Status.OK)
    assert len(runs(tmp_path)) == 4


def test_where_data_lie_is_no_part_of_an_experiment() -> None:
    here, there = ({"seed": 1, "data": {"name": "a", "data_dir": d}} for d in ("/old", None))
    other = {"seed": 1, "data": {"name": "b", "data_dir": "/old"}}
    assert identity(here) == identity(there) != identity(other)


def test_fresh_runs_it_again_beside_the_old_one(tmp_path: Path) -> None:
    train_job(job(tmp_path, "name=a"))
    assert train_job(job(tmp_path, "name=a", "fresh=true")) == Outcome(Status.OK)
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


@pytest.mark.parametrize("fail", ["oom", "nonfinite", "bug"])
def test_a_failed_job_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail: str
) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    monkeypatch.setenv("STANDIN_FAIL", fail)
    out = tmp_path / "out"
    with pytest.raises(AttributeError) if fail == "bug" else nullcontext():
        assert train_job(job(out, "name=a")).failed
    monkeypatch.delenv("STANDIN_FAIL")
    assert train_job(job(out, "name=a")) == Outcome(Status.OK, note=f"resumed: {out / 'a'}")
    assert runs(out) == [out / "a"]
    assert losses(out / "a") == losses(straight)


def test_a_job_that_failed_before_its_first_checkpoint_is_run_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="num_steps"):
            train_job(job(tmp_path, "name=a", "solver=rk4"))
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


def test_a_job_that_was_killed_before_its_first_checkpoint_starts_anew_in_place(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    train_job(job(tmp_path, "name=a"))
    record = RunRecord.load(tmp_path / "a/record.json")
    record.status, record.iterations = Status.INTERRUPTED, 0
    record.save(tmp_path / "a/record.json")
    for name in ("checkpoint.pt", "best.pt", "history.csv"):
        (tmp_path / "a" / name).unlink()
    assert train_job(job(tmp_path, "name=a")).status == "ok"
    assert "starts anew, in place" in capsys.readouterr().out
    assert runs(tmp_path) == [tmp_path / "a"]
    assert len(losses(tmp_path / "a")) == 6


def test_a_job_that_was_cut_off_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    monkeypatch.setenv("STANDIN_FAIL", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        train_job(job(tmp_path / "out"))
    monkeypatch.delenv("STANDIN_FAIL")
    [directory] = runs(tmp_path / "out")
    assert train_job(job(tmp_path / "out")) == Outcome(Status.OK, note=f"resumed: {directory}")
    assert runs(tmp_path / "out") == [directory]
    assert losses(directory) == losses(straight)


def test_a_cut_off_job_without_a_sound_checkpoint_starts_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STANDIN_FAIL", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        train_job(job(tmp_path, "name=a"))
    monkeypatch.delenv("STANDIN_FAIL")
    (tmp_path / "a/checkpoint.pt").write_bytes(b"torn")
    assert train_job(job(tmp_path, "name=a")) == Outcome(Status.OK)
    assert [path.name for path in runs(tmp_path)] == ["a", "a-2"]


def test_a_job_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    train_job(job(tmp_path, "name=a"))
    record = RunRecord.load(tmp_path / "a/record.json")
    record.status = Status("interrupted")
    record.save(tmp_path / "a/record.json")
    with sole_user(tmp_path / "a"):
        assert train_job(job(tmp_path)).status == "running"
    assert len(runs(tmp_path)) == 1


def test_a_job_that_another_sweep_is_at_is_left_to_it(tmp_path: Path) -> None:
    wanted = job(tmp_path)
    with sole_worker(tmp_path, identity(OmegaConf.to_container(wanted.config))) as mine:
        assert mine
        outcome = train_job(wanted)
    assert outcome.status == "running"
    assert not outcome.failed
    assert runs(tmp_path) == []


def test_records_that_are_none_or_of_another_schema_do_not_count(tmp_path: Path) -> None:
    train_job(job(tmp_path, "name=a"))
    path = tmp_path / "a/record.json"
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 0'))
    (tmp_path / "b").mkdir()
    (tmp_path / "b/record.json").write_text("{torn")
    config = job(tmp_path).config
    assert former_run(config, tmp_path) is None
    assert former_run(config, tmp_path / "nowhere") is None
    assert train_job(job(tmp_path, "name=a")) == Outcome(Status.OK)
    assert (tmp_path / "a-2/record.json").is_file()


def test_names_and_places_are_no_part_of_what_an_experiment_is(tmp_path: Path) -> None:
    plain = OmegaConf.to_container(job(tmp_path).config)
    assert isinstance(plain, dict)
    assert identity({**plain, "name": "x", "out": "y", "fresh": True}) == identity(plain)
    assert identity({**plain, "seed": 9}) != identity(plain)


def test_resume_makes_no_sense_in_a_sweep(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a sweep goes on with its own"):
        train_job(job(tmp_path, "resume=somewhere"))


def test_an_isolated_job_gives_the_same_losses(tmp_path: Path) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    assert train_job(job(tmp_path / "out", "isolate=true")) == Outcome(Status.OK)
    [directory] = runs(tmp_path / "out")
    assert losses(directory) == losses(straight)


def test_an_isolated_job_that_is_killed_leaves_a_record_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, straight = train_quietly(tmp_path / "straight", "task.fail_at=4")
    isolated = job(tmp_path / "out", "isolate=true", "task.fail_at=4")
    monkeypatch.setenv("STANDIN_FAIL", "kill")
    outcome = train_job(isolated)
    assert outcome.status == "interrupted"
    assert "killed by SIGKILL" in outcome.message
    [directory] = runs(tmp_path / "out")
    record = RunRecord.load(directory / "record.json")
    assert (record.status, record.finished is None) == ("interrupted", False)
    assert record.error is not None
    assert "SIGKILL" in record.error["message"]
    monkeypatch.delenv("STANDIN_FAIL")
    # In this process now: what it goes on with is the same, isolated or not.
    assert train_job(job(tmp_path / "out", "task.fail_at=4")).note == f"resumed: {directory}"
    assert losses(directory) == losses(straight)


def test_an_isolated_job_that_fails_tells_its_reason(tmp_path: Path) -> None:
    outcome = train_job(job(tmp_path, "isolate=true", "solver=rk4"))
    assert outcome.status == "incompatible"
    assert "num_steps" in outcome.message
    [directory] = runs(tmp_path)
    assert RunRecord.load(directory / "record.json").status == "incompatible"
