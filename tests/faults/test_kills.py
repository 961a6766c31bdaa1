"""kill -9 at every call that changes a file of a run: nothing that was saved is lost."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from symadj.records.record import RunRecord
from symadj.run.checkpoint import load_checkpoint
from symadj.run.trained import load_trained
from tests.faults.disk import Call, Disk, Kill
from tests.faults.runs import (
    FLOW,
    MORE,
    STEPS,
    check_sound,
    command,
    digest,
    dry_pass,
    flow,
    iterations,
    outcome,
    plain,
    progress,
    resume,
)


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was killed after the row of its third iteration."""
    out = tmp_path_factory.mktemp("cut")
    calls = calls_of(out / "dry", flow(out, name="dry"))
    rows = [call.number for call in calls if call.path == "history.csv" and call.kind == "flush"]
    killed_at(out / "run", flow(out), Kill(rows[3], before=False))
    assert iterations(out / "run")[:3] == [1, 2, 3]
    return out / "run"


def calls_of(run: Path, words: Sequence[str]) -> list[Call]:
    """The calls of a command that change files of the run."""
    return [call for call in dry_pass(run, words) if call.kind != "read"]


def killed_at(run: Path, words: Sequence[str], kill: Kill) -> None:
    done = command(words, before=Disk(run, kill).install)
    assert done.signal == "SIGKILL", (kill, done)


def moments(calls: Sequence[Call]) -> list[Kill]:
    """Before each call, in the middle of each write, and after all of them."""
    kills = [Kill(call.number, before=True) for call in calls]
    kills += [Kill(c.number, before=False) for c in calls if c.kind == "write" or c is calls[-1]]
    return sorted(kills, key=lambda kill: (kill.at, not kill.before))


# All moments take minutes, divided among processes; a few of them are always tested.
SHARES = [
    *(pytest.param(slice(share, None, 8), marks=pytest.mark.faults) for share in range(8)),
    pytest.param(slice(5, None, 40), id="some"),
]


@pytest.mark.parametrize("share", SHARES)
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, whole: dict[int, dict[str, Any]], share: slice
) -> None:
    for kill in moments(calls_of(tmp_path / "dry", flow(tmp_path, name="dry")))[share]:
        run = tmp_path / f"{kill.at}-{kill.before}"
        killed_at(run, flow(tmp_path, name=run.name), kill)
        check_sound(run)
        begun, old = progress(run) >= 0, run / "record.json"
        assert not old.exists() or RunRecord.load(old).status in ("interrupted", "ok"), kill
        done = command(resume(run))
        if not (run / "config.yaml").exists():
            assert (done.code, "config.yaml" in done.err) == (2, True), (kill, done.text)
            continue
        assert done.code == 0, (kill, done.text)
        assert begun or "anew" in done.text, (kill, done.text)
        assert outcome(run) == whole[STEPS], kill


def check_no_poorer(run: Path, old: Path, kill: Kill) -> None:
    """Until a new iteration was saved, an old run is what it was."""
    check_sound(run)
    was, now = (RunRecord.load(r / "record.json") for r in (old, run))
    assert progress(run) >= progress(old), kill
    assert len(iterations(run)) >= progress(old), kill
    if progress(run) == progress(old):
        assert (now.status, now.metrics, now.error) == (was.status, was.metrics, was.error), kill
        assert now.iterations == was.iterations, kill


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize(("old", "steps"), [("finished", MORE), ("cut_off", STEPS)])
def test_a_resume_that_is_killed_leaves_the_run_no_poorer(
    tmp_path: Path,
    whole: dict[int, dict[str, Any]],
    request: pytest.FixtureRequest,
    old: str,
    steps: int,
    share: slice,
) -> None:
    former: Path = request.getfixturevalue(old)

    def going_on(run: Path) -> list[str]:
        if not run.exists():
            shutil.copytree(former, run)
        return resume(run, f"train.steps={steps}")

    for kill in moments(calls_of(tmp_path / "dry", going_on(tmp_path / "dry")))[share]:
        run = tmp_path / f"{kill.at}-{kill.before}"
        killed_at(run, going_on(run), kill)
        check_no_poorer(run, former, kill)
        done = command(going_on(run))
        assert done.code == 0, (kill, done.text)
        assert outcome(run) == whole[steps], kill


@pytest.mark.parametrize("share", SHARES)
def test_a_killed_sweep_goes_on_by_the_same_command(
    tmp_path: Path, whole: dict[int, dict[str, Any]], share: slice
) -> None:
    for kill in moments(calls_of(tmp_path / "dry", sweep(tmp_path / "dry")))[share][::3]:
        out = tmp_path / f"{kill.at}-{kill.before}"
        killed_at(out, sweep(out), kill)
        begun = any(progress(run) >= 0 for run in runs(out))
        done = command(sweep(out))
        assert done.code == 0, (kill, done.text)
        [run] = [run for run in runs(out) if progress(run) == STEPS]
        assert outcome(run) == whole[STEPS], kill
        assert not begun or runs(out) == [run], kill


def runs(out: Path) -> list[Path]:
    return [path for path in out.glob("*") if not path.name.startswith(".")]


def sweep(out: Path) -> list[str]:
    return ["train", "-m", *FLOW, f"out={out}", "seed=0"]


def test_a_killed_run_is_looked_at_with_its_best_weights(cut_off: Path) -> None:
    best = load_checkpoint(cut_off / "checkpoint.pt")["best"]
    trained = load_trained(cut_off)
    assert trained.iteration == best["iteration"] == 2
    assert plain(trained.parts.model.state_dict()) == plain(best["model"])


def test_a_resume_that_is_refused_changes_nothing(tmp_path: Path, finished: Path) -> None:
    for number, setting in enumerate(("device=cuda", "optim.lr=1", "data.path=x", "train.steps=x")):
        run = tmp_path / str(number)
        shutil.copytree(finished, run)
        done = command(resume(run, setting))
        assert (done.code, "Traceback" in done.text) == (2, False), done.text
        assert digest(run) == digest(finished), setting
