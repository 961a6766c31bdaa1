"""symadj-sample and symadj-eval: a trained run looked at again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from symadj import Integrator, SolverSettings
from symadj.cli import evaluate, sample, train
from symadj.models.velocity import GuidedVelocity, Velocity, transport
from symadj.records.record import RunRecord
from symadj.run.trained import load_trained

SMALL = [
    *("data=toy2d", "data.name=moons", "model.hidden=[16]", "train.steps=6", "train.eval_every=3"),
    *("train.batch_size=64", "measure=none", "threads=1", "optim.lr=0.05"),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    assert train.main([*SMALL, f"out={out}", "name=moons", "train.figures=false"]) == 0
    return out / "moons"


def test_evaluating_gives_the_records_own_figures(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate.main([str(run)]) == 0
    recorded = RunRecord.load(run / "record.json").metrics
    [path] = (run / "eval").glob("test_*exact.json")
    report = json.loads(path.read_text())
    assert report["metrics"] == {
        name.removeprefix("test/"): value
        for name, value in recorded.items()
        if name.startswith("test/")
    }
    out = capsys.readouterr().out
    assert "dopri5, adaptive" in out
    assert f"{report['metrics']['nll']:.6g}" in out


def test_an_exact_trace_is_exact_whatever_the_training_tested_with(
    run: Path, tmp_path: Path
) -> None:
    told = [*SMALL, f"out={tmp_path}", "train.figures=false", "task.exact_test=false"]
    assert train.main([*told, "name=estimate"]) == 0
    estimate, exact = (RunRecord.load(r / "record.json") for r in (tmp_path / "estimate", run))
    assert (estimate.model["test_trace"], exact.model["test_trace"]) == ("estimate", "exact")
    assert estimate.metrics["test/nll"] != exact.metrics["test/nll"]
    assert load_trained(tmp_path / "estimate").evaluate()["nll"] == exact.metrics["test/nll"]


def test_another_solver_tolerance_split_and_trace(run: Path) -> None:
    tight = ["solver=dop853", "solver.rtol=1e-9", "solver.atol=1e-9", "dtype=float64"]
    assert evaluate.main([str(run), "split=val", "exact=false", *tight]) == 0
    [path] = (run / "eval").glob("val_dop853*estimate.json")
    report = json.loads(path.read_text())
    assert report["dtype"] == "float64"
    loose = load_trained(run).evaluate("val")
    assert report["metrics"]["nll"] == pytest.approx(loose["nll"], rel=0.3)


def test_samples_are_an_array_and_a_picture_and_depend_on_the_seed(run: Path) -> None:
    assert sample.main([str(run), "n=70"]) == 0
    assert sample.main([str(run), "n=70", "seed=1"]) == 0
    assert sample.main([str(run), "n=70", f"out={run / 'again.npy'}"]) == 0
    first, other = (np.load(run / "samples" / f"n70_seed{s}.npy") for s in (0, 1))
    assert first.shape == (70, 2)
    assert not np.array_equal(first, other)
    assert np.array_equal(first, np.load(run / "again.npy"))
    assert (run / "again.png").read_bytes().startswith(b"\x89PNG")


def test_samples_return_to_the_normal_variable_they_came_from(run: Path) -> None:
    assert sample.main([str(run), "n=16", "solver.rtol=1e-8", "solver.atol=1e-8",
                        "dtype=float64", f"out={run / 'tight.npy'}"]) == 0  # fmt: skip
    trained = load_trained(run)
    parts = trained.parts
    parts.model.double()
    with torch.no_grad():
        z, _ = parts.model(torch.from_numpy(np.load(run / "tight.npy")), parts.integrator)
    normal = torch.randn(16, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(z, normal, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (evaluate, ["split=tset"], "split='tset'; allowed: train, val, test"),
        (evaluate, ["exact=yes"], "exact=yes; it must be true or false"),
        (evaluate, ["model.hidden=[8]"], "model.hidden belongs to the training of"),
        (evaluate, ["solver=dopr5"], "Did you mean 'dopri5'"),
        (evaluate, ["solver=rk4", "solver.num_steps=2", "solver.rtol=1e-3"], "solver.rtol has no"),
        (sample, ["n=0"], "n=0; it must be a whole number of at least 1"),
        (sample, ["out=x.txt"], "ends in .npy"),
        (sample, ["64"], "NAME=VALUE is needed"),
    ],
)
def test_bad_arguments(
    command: object, arguments: list[str], said: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(run), *arguments]) == 2  # pyright: ignore[reportAttributeAccessIssue]
    assert said in capsys.readouterr().err


def test_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate.main([str(tmp_path)]) == 2
    assert "there is no config.yaml" in capsys.readouterr().err


def test_a_physical_model_has_no_samples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["experiment=mass_spring", "train.steps=1", "train.test=false", "train.figures=false"]
    assert train.main([*small, f"out={tmp_path}", "name=r", "measure=none"]) == 0
    assert sample.main([str(tmp_path / "r")]) == 2
    assert "has no samples" in capsys.readouterr().err


def test_configuration_record_and_chosen_weights_are_all_that_scoring_needs(
    tmp_path: Path, run: Path
) -> None:
    for name in ("config.yaml", "record.json", "best.pt"):
        shutil.copy(run / name, tmp_path)
    assert evaluate.main([str(tmp_path)]) == 0
    recorded = RunRecord.load(run / "record.json").metrics["test/nll"]
    [path] = (tmp_path / "eval").glob("test_*exact.json")
    assert json.loads(path.read_text())["metrics"]["nll"] == recorded


@pytest.fixture(scope="module")
def matched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional velocity, trained as the command does unless told."""
    out = tmp_path_factory.mktemp("runs")
    small = ["model.width=8", "model.blocks=1", "train.steps=4", "train.eval_every=2"]
    told = ["data=digits", "task=flow_matching", "task.exact_test=false", *small, "measure=none"]
    assert train.main([*told, "solver=heun", "solver.num_steps=2", f"out={out}", "name=fm"]) == 0
    return out / "fm"


def test_a_velocity_is_trained_without_a_solve_and_leaves_likelihoods_and_samples(
    matched: Path,
) -> None:
    record = RunRecord.load(matched / "record.json")
    assert set(record.evaluations.values()) == {0}
    assert record.model["test_trace"] == "estimate"
    assert {name for name in record.metrics if name.startswith("test/")} == {
        *("test/loss", "test/nll", "test/bits_per_dim", "test/class_nll"),
        "test/class_bits_per_dim",
    }
    assert record.config["train"]["ema"] is not None
    plots = {path.stem for path in (matched / "plots").iterdir()}
    assert plots == {"loss_iteration", "loss_time", "samples"}
    assert evaluate.main([str(matched), "exact=false"]) == 0
    [path] = (matched / "eval").glob("test_*estimate.json")
    assert json.loads(path.read_text())["metrics"] == {
        name.removeprefix("test/"): value
        for name, value in record.metrics.items()
        if name.startswith("test/")
    }


def test_samples_of_a_class_are_those_that_its_guided_velocity_carries(matched: Path) -> None:
    asked = ["solver=heun", "solver.num_steps=20", "guidance=2", "class=7", "n=5", "seed=3"]
    assert sample.main([str(matched), *asked]) == 0
    found = np.load(matched / "samples" / "n5_seed3_class7_guidance2.npy")
    parts = load_trained(matched).parts
    z = torch.randn(5, 64, generator=torch.Generator().manual_seed(3))
    solver = Integrator(SolverSettings("heun", num_steps=20))
    with torch.no_grad():
        expected = transport(GuidedVelocity(cast("Velocity", parts.model), 7, 2.0), z, solver)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-5)


def test_samples_of_all_classes_and_of_none(matched: Path, capsys) -> None:
    assert sample.main([str(matched)]) == 0
    assert sample.main([str(matched), "class=none", "n=100"]) == 0
    assert sample.main([str(matched), "guidance=1"]) == 0
    folder = matched / "samples"
    every, none, plain = (
        np.load(folder / f"n100_seed0{rest}.npy") for rest in ("", "_classnone", "_guidance1")
    )
    assert every.shape == none.shape == (100, 64)
    assert len({every.tobytes(), none.tobytes(), plain.tobytes()}) == 3
    assert "heun, 2 fixed steps, 4 evaluations" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["class=10"], "class=10; the classes are 0 to 9"),
        (["class=seven"], "class=seven; it must be a whole number"),
        (["class=none", "guidance=2"], "guidance=2 without a class"),
        (["guidance=much"], "guidance=much; it must be a number"),
        (["guidance=-1"], "guidance=-1.0; the strength of classifier-free guidance must be"),
    ],
)
def test_classes_and_guidance_that_there_are_not(
    arguments: list[str], said: str, matched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main([str(matched), *arguments]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("asked", ["class=7", "guidance=2"])
def test_a_flow_of_maximum_likelihood_has_no_classes(
    asked: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample.main([str(run), asked]) == 2
    assert "CNF has no classes" in capsys.readouterr().err
