"""Searches from the command line: killed and gone on with, pruned, shared, refused."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from symadj.cli.report import main as report
from symadj.cli.train import main
from symadj.launch.search.study import open_study
from symadj.records.record import RunRecord
from symadj.run import train as train_module
from tests.faults.forked import in_child
from tests.standins import CONFIGS, losses

STANDIN = ["-m", "--config-dir", str(CONFIGS), "experiment=standin"]
SPACE = ["optim.lr=tag(log,interval(1e-4,1))", "model.width=choice(2,3)"]


def search(out: Path, *arguments: str) -> int:
    return main([*STANDIN, f"out={out}", "launcher=inline", *SPACE, *arguments])


def study(out: Path) -> optuna.Study:
    return open_study(str(out / "search/journal.log"), "search")


def runs(out: Path) -> dict[str, RunRecord]:
    return {str(p.parent): RunRecord.load(p) for p in out.glob("*/record.json")}


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: Any, name: str, number: int, then: Callable[..., object]) -> None:
    """Has the call of this number, from 1, do something else."""
    original, calls = getattr(owner, name), []

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append(1)
        return (then if len(calls) == number else original)(*arguments, **more)

    setattr(owner, name, counted)


def half_a_line(backend: Any, logs: Any) -> None:
    with open(backend._file_path, "a") as file:
        file.write('{"op_code":5,"trial')
    kill()


KILLS: tuple[Callable[[], None], ...] = (
    # While a trial is asked for: it has no values yet. The study has been made by two lines.
    lambda: at_call(JournalFileBackend, "append_logs", 5, lambda *_: kill()),
    # In the middle of a training.
    lambda: at_call(train_module.Trainer, "save", 6, lambda *_: kill()),
    # While a line is written.
    lambda: at_call(JournalFileBackend, "append_logs", 12, half_a_line),
)


@pytest.mark.heavy
def test_a_search_killed_three_times_and_finished_is_the_one_never_killed(tmp_path: Path) -> None:
    command = ("search=tpe", "search.trials=4", "search.startup=2")
    out, straight = tmp_path / "out", tmp_path / "straight"
    for plant in KILLS:
        ended = in_child(lambda: search(out, *command), before=plant, seconds=60)
        assert ended.signal == "SIGKILL", ended.text
    assert search(out, *command) == search(straight, *command) == 0
    trials, expected = study(out).trials, study(straight).trials
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 4
    assert [(t.params, t.value) for t in trials] == [(t.params, t.value) for t in expected]
    for trial, other in zip(trials, expected, strict=True):
        mine, its = trial.user_attrs["directory"], other.user_attrs["directory"]
        assert losses(Path(mine)) == losses(Path(its))
    assert {t.user_attrs["directory"] for t in trials} == set(runs(out)), "one run a trial"
    assert {record.status for record in runs(out).values()} == {"ok"}


def test_what_is_finished_is_not_run_again_and_more_trials_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert search(tmp_path, "search=random", "search.trials=2") == 0
    before = runs(tmp_path)
    assert search(tmp_path, "search=random", "search.trials=2") == 0
    assert runs(tmp_path) == before
    assert search(tmp_path, "search=tpe", "search.trials=3") == 0
    assert len(runs(tmp_path)) == 3
    assert search(tmp_path, "search=tpe", "search.trials=3", "train.steps=7") == 2
    assert "train.steps: 6 there, 7 here" in capsys.readouterr().err


def test_it_leaves_a_table_pictures_and_the_best_settings_which_run_as_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert search(tmp_path / "out", "search=random", "search.trials=4") == 0
    out = capsys.readouterr().out
    best = study(tmp_path / "out").best_trial
    assert "search: 4 of 4 trials by random for the least val/nll: 4 finished" in out
    rows = out.partition("\n  trial ")[2].splitlines()[1:5]
    assert rows[0].split()[:2] == [str(best.number), f"{best.value:.5g}"]
    pictures = {path.stem for path in (tmp_path / "out/search").glob("*.png")}
    assert pictures == {"history", "importance", "slices", "parallel"}
    [command] = [line for line in out.splitlines() if line.startswith("the best again: ")]
    words = shlex.split(command.partition(": ")[2])[1:]
    # The stand-ins are configurations of a directory of their own.
    for path in CONFIGS.rglob("*.yaml"):
        copy = tmp_path / "out/search" / path.relative_to(CONFIGS)
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(path.read_text())
    assert main([*words, f"out={tmp_path / 'again'}"]) == 0
    [again] = runs(tmp_path / "again").values()
    assert again.metrics["val/nll"] == best.value


def test_a_trial_that_validates_worse_than_others_is_pruned_and_reported_so(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pruned = ("search.pruner=median", "search.pruner_trials=2")
    assert search(tmp_path / "out", "search=random", "search.trials=6", *pruned) == 0
    cut = [t for t in study(tmp_path / "out").trials if t.state is TrialState.PRUNED]
    assert 0 < len(cut) < 4
    for trial in cut:
        directory = Path(trial.user_attrs["directory"])
        record = RunRecord.load(directory / "record.json")
        assert (record.status, record.error) == ("pruned", None)
        assert record.iterations == max(trial.intermediate_values) < 6
        assert record.metrics["val/nll"] == min(trial.intermediate_values.values())
        assert (directory / "checkpoint.pt").exists()
        assert (directory / "best.pt").exists()
    before = runs(tmp_path / "out")
    assert search(tmp_path / "out", "search=random", "search.trials=6", *pruned) == 0
    assert runs(tmp_path / "out") == before, "a pruned trial is done"
    capsys.readouterr()
    cells = ["--rows", "optim.lr", "--cells", "val/nll", "--out", str(tmp_path / "tables")]
    assert report([str(tmp_path / "out"), *cells]) == 0
    table = capsys.readouterr().out
    assert sum("pruned" in line for line in table.splitlines()) == len(cut)


@pytest.mark.heavy
def test_hyperband_prunes_too(tmp_path: Path) -> None:
    pruned = ("search.pruner=hyperband", "train.eval_every=1", "search.pruner_factor=2")
    assert search(tmp_path, "search=random", "search.trials=6", *pruned) == 0
    assert TrialState.PRUNED in {trial.state for trial in study(tmp_path).trials}


@pytest.mark.parametrize(
    ("fail", "status", "states"),
    [
        ("null,nonfinite", 0, {"null": TrialState.COMPLETE, "nonfinite": TrialState.FAIL}),
        ("null,bug", 1, {"null": TrialState.COMPLETE, "bug": TrialState.FAIL}),
        ("nonfinite,loss", 1, {"nonfinite": TrialState.FAIL, "loss": TrialState.FAIL}),
    ],
)
def test_a_diverged_trial_is_a_result_and_a_mistake_is_a_failure(
    tmp_path: Path, fail: str, status: int, states: Mapping[str, TrialState]
) -> None:
    arguments = ["launcher=inline", f"out={tmp_path}", f"task.fail={fail}", "search=grid"]
    assert main([*STANDIN, *arguments]) == status
    assert {t.params["task.fail"]: t.state for t in study(tmp_path).trials} == states


def test_processes_of_their_own_run_the_trials(tmp_path: Path) -> None:
    arguments = ["launcher.workers=2", "search=random", "search.trials=3"]
    assert main([*STANDIN, f"out={tmp_path}", *SPACE, *arguments]) == 0
    assert [t.state for t in study(tmp_path).trials] == [TrialState.COMPLETE] * 3
    assert all(len(t.intermediate_values) == 3 for t in study(tmp_path).trials)
    assert len(runs(tmp_path)) == 3


LR = "optim.lr=interval(0.1,1)"
BAD = [
    (["-m", LR], "To search a range, add search=tpe."),
    (["-m", LR, "search.trials=3"], "choose what searches too: search=tpe"),
    (["-m", "search=tpe"], "a search needs settings to choose"),
    ([LR, "search=tpe"], "needs -m"),
    (["search=tpe"], "a search takes many runs; add -m"),
    (["-m", LR, "search=tpe", "search.trials=0"], "search.trials=0; the number of trials"),
    (["-m", LR, "search=tpe", "search.trials=null"], "is for search=grid"),
    (["-m", LR, "search=tpe", "search.metric=val/nl"], "Did you mean 'val/nll'?"),
    (["-m", LR, "search=tpe", "search.metric=test/nll"], "is not tested by it any more"),
    (
        ["-m", LR, "search=tpe", "search.metric=train/loss", "search.pruner=median"],
        "trials are pruned by their validations",
    ),
    (["-m", LR, "search=grid"], "an interval has no end of values"),
    (["-m", "grad=aca,adjoint", "search=cmaes"], "which chooses numbers only"),
    (["-m", "grad=aca,adjont", "search=tpe"], "unknown grad=adjont. Did you mean 'adjoint'?"),
    (["-m", "optim.lr=interval(1,1e9)", "search=tpe"], "optim.lr=1000000000.0; the learning rate"),
    (["-m", LR, "search=bayes"], "unknown search=bayes. Did you mean 'cmaes'? Allowed: cmaes, gp,"),
    (["-m", LR, "search=tpe", "search.study=a/b"], "search.study='a/b' cannot name a study"),
    (["-m", LR, "search=tpe", "search.pruner=best"], "it must be 'none' or 'median' or"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_explained_with_status_2_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    base = ["--config-dir", str(CONFIGS), "experiment=standin", f"out={tmp_path / 'out'}"]
    assert main([*base, *arguments]) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert "Traceback" not in out + err
    assert not (tmp_path / "out").exists()
