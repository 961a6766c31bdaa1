"""symadj-sample and symadj-eval: a trained run looked at again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from symadj.cli import evaluate, sample, train
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
