from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from symadj.config.compose import compose
from symadj.config.saved import saved_config
from symadj.errors import IncompatibleError, InputError
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from symadj.run.checkpoint import load_checkpoint, load_tensors
from symadj.run.train import train
from symadj.run.trained import load_trained
from symadj.tasks.base import Task
from symadj.tasks.density import Density
from symadj.tasks.flow_matching import FlowMatching
from tests.devices import CUDA
from tests.standins import losses, standin_config, train_quietly


def test_a_run_leaves_its_files_and_a_true_record(tmp_path: Path) -> None:
    record, directory = train_quietly(tmp_path, "train.figures=true", "seed=3")
    assert record.status == "ok"
    assert RunRecord.load(directory / "record.json") == record
    assert record.iterations == 6
    assert record.data == {
        "name": "cloud",
        "dim": 2,
        "note": "a stand-in for tests",
        "train": 40,
        "val": 10,
        "test": 10,
    }
    assert record.model == {"name": "Flow", "parameters": 22}  # a model without a trace
    assert (record.solver, record.grad, record.seed) == ("dopri5", "symplectic", 3)
    assert set(record.metrics) == {"train/loss", "val/nll", "test/nll", "test/bits_per_dim"}
    assert record.environment["torch"] == torch.__version__
    assert record.environment["device"] == "cpu"
    assert record.started <= str(record.finished)
    assert record.config == saved_config(directory)
    drawn = {path.name for path in (directory / "plots").iterdir()}
    assert drawn == {"samples.png", "loss_iteration.png", "loss_time.png", "evaluations.png"}
    assert (directory / "log.txt").read_text().count("val nll") == 3


def test_the_sums_in_the_record_are_those_of_the_history(tmp_path: Path) -> None:
    record, directory = train_quietly(tmp_path)
    history = read_history(directory / "history.csv")
    assert history["iteration"].tolist() == [1, 2, 3, 4, 5, 6]
    assert {k: int(history[k].sum()) for k in record.evaluations} == record.evaluations
    assert {k: int(history[k].sum()) for k in record.steps} == record.steps
    assert record.evaluations["vjps"] == record.evaluations["with_graph"] > 0
    assert history["val_nll"].notna().tolist() == [False, True] * 3
    assert record.metrics["val/nll"] == history["val_nll"].min()
    assert record.metrics["train/loss"] == history["loss"].iloc[-1]
    assert history["wall"].is_monotonic_increasing
    parts = record.seconds
    assert parts["iteration"]["n"] == parts["forward"]["n"] == 5  # the first one warms up
    assert 0 < parts["backward"]["q1"] <= parts["backward"]["median"] <= parts["backward"]["q3"]
    assert parts["total"] >= history["seconds"].sum()


def test_the_same_seed_gives_the_same_losses_bit_for_bit(tmp_path: Path) -> None:
    _, first = train_quietly(tmp_path)
    _, second = train_quietly(tmp_path)
    _, other = train_quietly(tmp_path, "seed=1")
    assert first != second
    assert losses(first) == losses(second)
    assert losses(first) != losses(other)
    weights = [load_tensors(d / "best.pt")["model"] for d in (first, second)]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])


def test_validation_does_not_touch_the_stream_of_the_training(tmp_path: Path) -> None:
    _, often = train_quietly(tmp_path, "train.eval_every=1")
    _, seldom = train_quietly(tmp_path, "train.eval_every=6")
    assert losses(often) == losses(seldom)


def test_the_best_weights_are_the_ones_tested(tmp_path: Path) -> None:
    # A huge learning rate after the first validations makes the last weights bad.
    record, directory = train_quietly(
        tmp_path, "optim.lr=2", "train.steps=8", "train.eval_every=1", "seed=2"
    )
    history = read_history(directory / "history.csv")
    best = load_tensors(directory / "best.pt")
    last = load_checkpoint(directory / "checkpoint.pt")
    assert history["val_nll"].iloc[-1] > history["val_nll"].min()
    assert best["iteration"] == history["iteration"][history["val_nll"].argmin()]
    assert any(not torch.equal(last["model"][k], best["model"][k]) for k in best["model"])
    retested, _ = train_quietly(
        tmp_path, "optim.lr=2", f"train.steps={best['iteration']}", "train.eval_every=1", "seed=2"
    )
    assert retested.metrics["test/nll"] == record.metrics["test/nll"]


def test_the_last_weights_are_tested_where_they_are_chosen(tmp_path: Path) -> None:
    bad = ("optim.lr=2", "train.steps=8", "train.eval_every=1", "seed=2")
    best, _ = train_quietly(tmp_path, *bad)
    record, directory = train_quietly(tmp_path, *bad, "train.choose=last")
    kept = load_tensors(directory / "best.pt")
    last = load_checkpoint(directory / "checkpoint.pt")
    assert kept["iteration"] == 8
    assert all(torch.equal(last["model"][k], kept["model"][k]) for k in kept["model"])
    assert record.metrics["val/nll"] == read_history(directory / "history.csv")["val_nll"].iloc[-1]
    assert record.metrics["test/nll"] != best.metrics["test/nll"]
    assert load_trained(directory, trusted=["tests.standins"]).iteration == 8


@pytest.mark.parametrize("end", ["train.patience=2", "train.max_seconds=1e-9"])
def test_the_last_weights_of_a_training_that_ends_early(tmp_path: Path, end: str) -> None:
    more = ("train.choose=last", "train.eval_every=1", "optim.lr=2", "train.steps=40", "seed=2")
    record, directory = train_quietly(tmp_path, *more, end)
    assert record.iterations < 40
    assert load_tensors(directory / "best.pt")["iteration"] == record.iterations


def test_an_unknown_choice_of_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"unknown train\.choose='lst'.*last"):
        train_quietly(tmp_path, "train.choose=lst")


@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_resumed_run_repeats_the_losses_of_an_uninterrupted_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    settings = ["train.clip=0.5", "optim=adam_cosine", f"task.fail_at={cut + 1}"]
    whole, straight = train_quietly(tmp_path, *settings)
    monkeypatch.setenv("STANDIN_FAIL", "interrupt")
    with pytest.raises(KeyboardInterrupt):
        train_quietly(tmp_path, *settings, "name=cut")
    monkeypatch.delenv("STANDIN_FAIL")
    directory = tmp_path / "cut"
    record = RunRecord.load(directory / "record.json")
    assert (record.status, record.iterations) == ("interrupted", cut)
    assert losses(directory) == losses(straight)[:cut]
    assert load_checkpoint(directory / "checkpoint.pt")["progress"]["iteration"] == cut

    resumed = train(standin_config(tmp_path, *settings, f"resume={directory}"))
    assert resumed.status == "ok"
    assert losses(directory) == losses(straight)
    assert resumed.metrics == whole.metrics
    assert resumed.evaluations == whole.evaluations
    assert resumed.started == record.started
    assert resumed.seconds["total"] > record.seconds["total"]


FLOW = (
    *("data=toy2d", "data.size=60", "model=cnf", "model.hidden=[4]", "task=density"),
    *("solver=rk4", "solver.num_steps=2", "train.batch_size=10"),
)


MATCHING = (
    *("data=digits", "model=velocity_mlp", "model.width=8", "model.blocks=1"),
    *("task=flow_matching", "task.coupling=optimal_transport", "task.likelihood_rows=5"),
    *("solver=rk4", "solver.num_steps=2", "train.batch_size=10", "train.ema=0.9"),
)


def interrupt_after_loss(
    monkeypatch: pytest.MonkeyPatch, number: int, task: type[Task] = Density
) -> None:
    """Ctrl-C between the forward and the backward pass of that iteration."""
    loss, done = task.loss, []

    def interrupted(self: Task, *args: Any) -> torch.Tensor:
        value = loss(self, *args)
        done.append(value)
        if len(done) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return value

    monkeypatch.setattr(task, "loss", interrupted)


@pytest.mark.parametrize(
    "settings",
    [
        (*FLOW, "model.batch_norm=true"),
        (*FLOW, "train.ema=0.9"),
        (*FLOW, "optim=adam_plateau", "optim.plateau=1", "train.eval_every=1"),
        MATCHING,
    ],
)
@pytest.mark.parametrize("cut", [2, 5])
def test_a_flow_resumed_after_half_an_iteration_repeats_losses_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...], cut: int
) -> None:
    whole, straight = train_quietly(tmp_path, *settings)
    with monkeypatch.context() as patch:
        interrupt_after_loss(patch, cut, FlowMatching if settings is MATCHING else Density)
        with pytest.raises(KeyboardInterrupt):
            train_quietly(tmp_path, *settings, "name=cut")
    directory = tmp_path / "cut"
    resumed = train(standin_config(tmp_path, *settings, f"resume={directory}"))
    assert losses(directory) == losses(straight)
    assert resumed.metrics == whole.metrics
    for name in ("model", "optimizer", "scheduler", "best"):
        kept = [load_checkpoint(d / "checkpoint.pt")[name] for d in (straight, directory)]
        assert_same(kept[1], kept[0])


def assert_same(ours: Any, expected: Any) -> None:
    """Equal to the last bit, through dicts and lists."""
    if isinstance(expected, torch.Tensor):
        assert torch.equal(ours, expected)
    elif isinstance(expected, dict):
        assert ours.keys() == expected.keys()
        for key, value in expected.items():
            assert_same(ours[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(ours) == len(expected)
        for pair in zip(ours, expected, strict=True):
            assert_same(*pair)
    else:
        assert ours == expected


def test_a_killed_run_says_interrupted_and_can_be_resumed(tmp_path: Path) -> None:
    _, straight = train_quietly(tmp_path / "straight")
    config = standin_config(tmp_path, "task.fail_at=4", "name=killed")
    (tmp_path / "config.json").write_text(json.dumps(config))
    code = "import json, sys; from symadj.run.train import train;"
    code += "train(json.load(open(sys.argv[1])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "config.json")],
        env={**os.environ, "STANDIN_FAIL": "kill"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    directory = tmp_path / "killed"
    record = RunRecord.load(directory / "record.json")
    assert (record.status, record.finished) == ("interrupted", None)
    assert record.model == {"name": "Flow", "parameters": 22}
    assert len(losses(directory)) == 3  # the checkpoint is that of iteration 2
    assert train(standin_config(tmp_path, "task.fail_at=4", f"resume={directory}")).status == "ok"
    assert losses(directory) == losses(straight)


@pytest.mark.parametrize(
    ("fail", "status", "kind"),
    [
        ("nonfinite", "nonfinite", "NonFiniteError"),
        ("loss", "nonfinite", "NonFiniteLoss"),
        ("oom", "oom", "MemoryBudgetExceeded"),
    ],
)
def test_a_failed_run_is_a_record_with_the_last_good_checkpoint(
    tmp_path: Path, fail: str, status: str, kind: str
) -> None:
    record, directory = train_quietly(tmp_path, f"task.fail={fail}", "task.fail_at=4")
    saved = json.loads((directory / "record.json").read_text())
    assert record.status == saved["status"] == status
    assert saved["error"]["type"] == kind
    assert kind in saved["error"]["traceback"]
    assert kind in (directory / "log.txt").read_text()
    assert record.iterations == len(losses(directory)) == 3
    assert load_checkpoint(directory / "checkpoint.pt")["progress"]["iteration"] == 2
    assert "val/nll" in record.metrics
    assert "test/nll" not in record.metrics
    assert (directory / "best.pt").is_file()


def test_a_solve_that_failed_tells_where(tmp_path: Path) -> None:
    record, _ = train_quietly(tmp_path, "task.fail=nonfinite", "task.fail_at=1")
    assert record.error is not None
    expected = {"phase": "forward", "t": 0.5, "h": 0.1, "steps": 3, "rejects": 1}
    assert record.error["details"] == {**expected, "largest": float("inf")}


def test_a_solver_that_runs_out_of_steps_has_its_status(tmp_path: Path) -> None:
    record, directory = train_quietly(tmp_path, "solver.max_steps=1", "solver.first_step=1e-3")
    assert record.status == "step_limit"
    assert record.error is not None
    assert set(record.error["details"]) == {"phase", "t", "h", "steps", "rejects", "largest"}
    assert load_checkpoint(directory / "checkpoint.pt")["progress"]["iteration"] == 0


def test_a_bug_raises_and_its_traceback_is_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(AttributeError, match="planted bug"):
        train_quietly(tmp_path, "task.fail=bug", "name=bug")
    assert RunRecord.load(tmp_path / "bug/record.json").status == "error"
    assert "planted bug" in (tmp_path / "bug/log.txt").read_text()


def test_a_bad_setting_raises_before_any_training(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="num_steps"):
        train_quietly(tmp_path, "solver=rk4", "name=bad")
    record = RunRecord.load(tmp_path / "bad/record.json")
    assert (record.status, record.iterations) == ("incompatible", 0)
    assert not (tmp_path / "bad/checkpoint.pt").exists()
    with pytest.raises(InputError, match=r"solver\.rtol='abc'|rtol='abc'"):
        train_quietly(tmp_path, "solver.rtol=abc")


def test_nothing_is_made_for_settings_out_of_range(tmp_path: Path) -> None:
    for wrong in ("train.steps=0", "train.max_seconds=0", "dtype=float16", "seed=-1", "name=a/b"):
        with pytest.raises(InputError, match=wrong.partition("=")[0].split(".")[-1]):
            train_quietly(tmp_path / "out", wrong)
    assert not (tmp_path / "out").exists()


def test_patience_and_time_end_a_training_early(tmp_path: Path) -> None:
    patient, _ = train_quietly(
        tmp_path, "optim.lr=1e-12", "train.eval_every=1", "train.patience=2", "train.steps=50"
    )
    assert patient.status == "ok"
    assert patient.iterations < 50
    timed, directory = train_quietly(tmp_path, "train.max_seconds=1e-9", "train.steps=50")
    assert (timed.status, timed.iterations) == ("ok", 1)
    assert read_history(directory / "history.csv")["val_nll"].notna().all()


def test_clipped_gradients_move_the_weights_by_as_little_as_asked_for(tmp_path: Path) -> None:
    """Adam's first step is lr for large gradients, and lr |g| / 1e-8 for ones far below 1e-8."""

    def moved(*settings: str) -> float:
        # Nearly no rate in the first run: it shows the weights before the step.
        ends = []
        for lr in ("1e-30", "1"):
            _, directory = train_quietly(tmp_path, "train.steps=1", f"optim.lr={lr}", *settings)
            ends.append(load_checkpoint(directory / "checkpoint.pt")["model"])
        return max(float((ends[1][name] - ends[0][name]).abs().max()) for name in ends[0])

    assert moved() > 0.9
    assert 1e-6 < moved("train.clip=1e-12") < 1.1e-4


def test_metered_iterations_are_other_than_timed_ones(tmp_path: Path) -> None:
    metering = ["measure=default", "measure.every=2", "measure.iterations=2"]
    record, directory = train_quietly(tmp_path, *metering)
    history = read_history(directory / "history.csv")
    assert history["memory_bytes"].notna().tolist() == [False, True, False, True, False, False]
    assert history["seconds"].isna().tolist() == history["memory_bytes"].notna().tolist()
    assert record.seconds["iteration"]["n"] == 3  # neither the first nor the metered ones
    assert record.memory is not None
    assert record.memory["meter"] == "dispatch"
    assert record.memory["peak_bytes"] == history["memory_bytes"].max() > 0
    assert record.memory["checkpoints_bytes"] > 0
    assert record.memory["optimizer_bytes"] >= 0
    _, unmetered = train_quietly(tmp_path)
    assert losses(directory) == losses(unmetered)


def test_a_memory_in_which_no_method_fits_ends_a_run_with_the_table(
    tmp_path: Path,
) -> None:
    record, directory = train_quietly(tmp_path, "grad=auto", "grad.memory=10B")
    assert (record.status, record.iterations) == ("oom", 0)
    assert record.error is not None
    assert record.error["type"] == "NothingFits"
    assert "too much" in record.error["message"]
    record, directory = train_quietly(tmp_path, "grad=auto", "grad.memory=1GiB")
    assert (record.status, record.grad) == ("ok", "auto")
    assert (directory / "log.txt").read_text().count("taken") == 1


def test_a_memory_budget_ends_a_run_as_out_of_memory(tmp_path: Path) -> None:
    record, _ = train_quietly(tmp_path, "measure=default", "measure.memory_budget=100B")
    assert (record.status, record.iterations) == ("oom", 1)
    assert record.error is not None
    assert record.error["type"] == "MemoryBudgetExceeded"


def test_threads_are_given_back(tmp_path: Path) -> None:
    train_quietly(tmp_path, "threads=2", "train.steps=1")
    assert torch.get_num_threads() == 1


def test_double_precision_reaches_data_and_model(tmp_path: Path) -> None:
    _, directory = train_quietly(tmp_path, "dtype=float64")
    model = load_checkpoint(directory / "checkpoint.pt")["model"]
    assert {value.dtype for value in model.values()} == {torch.float64}


def test_a_plot_that_fails_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("tests.standins.Shrink.figures", fail)
    record, directory = train_quietly(tmp_path, "train.figures=true")
    assert record.status == "ok"
    assert "disk full" in (directory / "log.txt").read_text()


ON_DEVICES = [
    pytest.param("cpu", "false", id="cpu"),
    pytest.param("cuda", "false", id="cuda", marks=CUDA.marks),
    pytest.param("cuda", "true", id="cuda-compiled", marks=CUDA.marks),
]


@pytest.mark.parametrize(("device", "compiled"), ON_DEVICES)
def test_a_flow_trains_alike_on_every_device(tmp_path: Path, device: str, compiled: str) -> None:
    def trained(name: str, *overrides: str) -> RunRecord:
        small = ("experiment=quick", "train.steps=4", "train.figures=false", "model.trace=exact")
        place = (f"out={tmp_path}", f"name={name}", "measure.warmup=0", *small)
        return train(compose("train", [*place, *overrides]))

    record = trained("a", f"device={device}", f"compile={compiled}")
    assert record.status == "ok"
    assert record.environment["device"].startswith(device)
    assert record.memory is not None
    assert record.memory["meter"] == ("cuda" if device == "cuda" else "dispatch")
    assert (record.memory["reserved_bytes"] is None) == (device == "cpu")
    assert record.memory["peak_bytes"] > record.memory["checkpoints_bytes"] > 0
    reference = trained("b", "device=cpu", "grad=backprop")
    for name, value in record.metrics.items():
        # nll_gap is the difference of two almost equal NLLs: abs is their rounding.
        assert value == pytest.approx(reference.metrics[name], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("devices", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_batch_may_be_more_than_one_tensor(tmp_path: Path, devices: int) -> None:
    targets = [f"{part}._target_=tests.standins.{kind}" for part, kind in LABELLED.items()]
    record, _ = train_quietly(tmp_path, *targets, f"devices={devices}", "dtype=float64")
    assert record.status == "ok"
    assert record.iterations == 6


LABELLED = {"data": "LabelledCloud", "task": "ShrinkLabelled"}
