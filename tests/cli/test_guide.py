"""symadj-guide: samples of a trained velocity, steered."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from symadj.cli import guide, sample, train
from symadj.records.record import RunRecord

SMALL = [
    *("train.steps=40", "train.eval_every=20", "train.batch_size=64", "measure=none", "threads=1"),
    *("train.figures=false", "train.test=false"),
]
FLOW = ["task=flow_matching", "model.width=16", "model.blocks=1", "optim.lr=0.01", *SMALL]
FEW = ["solver=heun3", "solver.num_steps=4", "figures=false"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs")
    digits = ["data=digits", "task=classify", "model.hidden=[8]", *SMALL]
    for name, overrides in {
        "plane": ["data=toy2d", "data.name=moons", *FLOW],
        "digits": ["data=digits", *FLOW],
        "classifier": digits,
        "judge": [*digits, "seed=1", "data.seed=0"],
        "flow": ["data=toy2d", "model.hidden=[4]", *SMALL],
    }.items():
        assert train.main([*overrides, f"out={out}", f"name={name}"]) == 0
    return out


def guided(runs: Path, *arguments: str) -> tuple[Path, RunRecord]:
    """The directory that a guiding leaves, and its record."""
    run, *rest = arguments
    before = set((runs / run).glob("guided/*"))
    assert guide.main([str(runs / run), *FEW, *rest]) == 0
    [made] = set((runs / run).glob("guided/*")) - before
    return made, RunRecord.load(made / "record.json")


def test_points_are_steered_to_a_target(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, record = guided(runs, "plane", "goal=target", "goal.point=[1,0.5]", "n=5", "seed=3",
                           "figures=true")  # fmt: skip
    assert made.name == "target_source_symplectic_n5_seed3"
    assert record.status == "ok"
    assert record.kind == "guide"
    assert record.metrics["distance/after"] < 1e-3 < record.metrics["distance/before"]
    after = np.load(made / "after.npy")
    assert after.shape == (5, 2)
    assert np.abs(after - [1, 0.5]).max() < 1e-2
    assert {path.stem for path in (made / "plots").iterdir()} == {"loss", "trajectories"}
    history = pd.read_csv(made / "history.csv")
    assert list(history["iteration"]) == list(range(1, 31))
    assert (history["vjps"] == 4 * 3).all()
    assert record.evaluations["vjps"] == history["vjps"].sum()
    said = capsys.readouterr().out
    assert "target: (1, 0.5)" in said
    assert "distance" in said
    assert str(made) in said


def test_every_gradient_method_guides_alike(runs: Path) -> None:
    losses = {}
    for grad in ("symplectic", "backprop", "aca"):
        _, record = guided(
            runs, "plane", "goal=target", "way=step", "way.strength=2", f"grad={grad}", "n=3",
            "dtype=float64",
        )  # fmt: skip
        losses[grad] = record.metrics["loss/after"]
        assert record.grad == grad
    assert list(losses.values()) == pytest.approx([losses["backprop"]] * 3, rel=1e-10)


def test_the_same_command_gives_the_same_samples(runs: Path) -> None:
    line = ("digits", "goal=inpaint", "way.evaluations=3", "n=4")
    first, again = guided(runs, *line)[0], guided(runs, *line)[0]
    assert again.name == f"{first.name}-2"
    for name in ("before.npy", "after.npy"):
        assert np.array_equal(np.load(first / name), np.load(again / name))
    other = guided(runs, *line, "seed=1")[0]
    assert not np.array_equal(np.load(first / "before.npy"), np.load(other / "before.npy"))


@pytest.mark.parametrize("goal", ["superres", "inpaint"])
def test_images_come_nearer_to_what_is_given(runs: Path, goal: str) -> None:
    made, record = guided(
        runs, "digits", f"goal={goal}", "way.evaluations=6", "n=3", "figures=true"
    )
    assert record.metrics["loss/after"] < record.metrics["loss/before"]
    assert "psnr/after" in record.metrics
    plots = {path.stem for path in (made / "plots").iterdir()}
    assert plots == {"loss", "before_after", "states"}


def test_a_class_is_reached_and_judged(runs: Path) -> None:
    asked = [f"goal.classifier={runs / 'classifier'}", f"goal.judge={runs / 'judge'}"]
    line = ("digits", "goal=classify", *asked, "goal.label=3", "way.evaluations=15", "n=4")
    _, record = guided(runs, *line, "class=3", "guidance=1.5")
    assert record.metrics["loss/after"] < record.metrics["loss/before"]
    assert record.metrics["success/after"] == 1
    assert 0 <= record.metrics["judged/after"] <= 1
    assert record.config["guide"] == {
        "n": 4,
        "seed": 0,
        "label": 3,
        "guidance": 1.5,
        "figures": False,
    }


def test_trained_weights_are_those_of_a_run_to_sample_from(runs: Path) -> None:
    made, record = guided(
        runs, "plane", "goal=target", "way=weights", "way.iterations=5", "way.lr=0.01", "n=8",
        "way.last=2",
    )  # fmt: skip
    assert record.metrics["loss/after"] < record.metrics["loss/before"]
    assert sample.main([str(made), "n=3"]) == 0
    weights = torch.load(made / "best.pt", weights_only=True)["model"]
    original = torch.load(runs / "plane" / "best.pt", weights_only=True)["model"]
    assert any(not torch.equal(weights[name], original[name]) for name in original)


def test_a_function_of_the_users_own(runs: Path) -> None:
    (runs / "guided_losses.py").write_text("def left(x):\n    return (x[:, 0] + 1).square()\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(runs))
        _, record = guided(runs, "plane", "goal=function", "goal.function=guided_losses.left")
    assert record.metrics["loss/after"] < 1e-6


def test_another_place_and_adaptive_steps(runs: Path, tmp_path: Path) -> None:
    line = [str(runs / "plane"), "goal=target", "solver=bosh3", "solver.rtol=1e-3", "n=2", FEW[-1]]
    assert guide.main([*line, f"out={tmp_path / 'here'}", "way.evaluations=3"]) == 0
    assert (tmp_path / "here" / "record.json").is_file()
    step = ["way=step", "way.intervals=4", "way.n=null", f"out={tmp_path / 'there'}"]
    assert guide.main([*line, *step]) == 0


@pytest.mark.parametrize(
    ("run", "arguments", "said"),
    [
        ("plane", [], "goal=NAME must be given. Allowed: classify, deblur"),
        ("plane", ["goal=inpait"], "Did you mean 'inpaint'"),
        ("plane", ["goal=inpaint"], "data=moons are none"),
        ("plane", ["goal=classify", "goal.classifier=x"], "data=moons have none"),
        (
            "plane",
            ["goal=target", "goal.point=[1,2,3]"],
            "goal.point=[1.0, 2.0, 3.0] has 3 entries",
        ),
        ("plane", ["goal=target", "goal.points=[1,2]"], "unknown setting goal.points"),
        ("plane", ["goal=target", "way=sourc"], "Did you mean 'source'"),
        ("plane", ["goal=target", "way.evaluations=0"], "way.evaluations=0; the number of solves"),
        ("plane", ["goal=target", "way=step", "solver=bosh3"], "Give way.intervals"),
        ("plane", ["goal=target", "class=3"], "trained without classes"),
        ("plane", ["goal=target", "guidance=2"], "guidance=2 without a class"),
        ("plane", ["goal=target", "guidance=much"], "guidance=much; it must be a number"),
        ("plane", ["goal=target", "model.width=8"], "model.width belongs to the training of"),
        ("plane", ["goal=target", "grad=reversible"], "reversible"),
        ("plane", ["goal=function", "goal.function=no.such"], "cannot be imported"),
        ("plane", ["goal=function"], "goal.function must be given"),
        ("digits", ["goal=inpaint", "goal.mask=nowhere.npy"], "goal.mask=nowhere.npy cannot be"),
        ("digits", ["goal=superres", "goal.factor=3"], "goal.factor=3 does not divide"),
        ("digits", ["goal=classify", "goal.classifier=nowhere"], "there is no config.yaml"),
        ("digits", ["goal=classify", "goal.classifier=RUNS/digits"], "is no classifier"),
        ("digits", ["goal=classify", "goal.classifier=RUNS/plane"], "was trained on other data"),
        ("flow", ["goal=target"], "trained a CNF, which has no velocity"),
        ("classifier", ["goal=inpaint"], "trained a ClassifierMLP, which has no velocity"),
    ],
)
def test_what_cannot_be_guided_is_refused(
    runs: Path, run: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [argument.replace("RUNS", str(runs)) for argument in arguments]
    fixed = FEW[-1:] if any(a.startswith("solver=") for a in given) else FEW
    before = set((runs / run).glob("guided/*"))
    assert guide.main([str(runs / run), *fixed, *given]) == 2
    assert said in capsys.readouterr().err
    assert set((runs / run).glob("guided/*")) == before


def test_a_mask_of_another_shape(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(runs / "mask.npy", np.ones((7, 8), dtype=bool))
    line = [str(runs / "digits"), "goal=inpaint", f"goal.mask={runs / 'mask.npy'}"]
    assert guide.main([*line, *FEW]) == 2
    assert "shape (7, 8); these images need booleans of shape (8, 8)" in capsys.readouterr().err


def test_a_strength_that_is_too_much_ends_with_a_record(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [str(runs / "plane"), "goal=target", "way=step", "way.strength=1e24", *FEW]
    assert guide.main([*line, f"out={tmp_path / 'far'}"]) == 1
    assert "of 4 the guided state" in capsys.readouterr().err
    record = RunRecord.load(tmp_path / "far" / "record.json")
    assert record.status == "nonfinite"
    assert record.error_type == "NonFiniteError"
    assert record.iterations == len(pd.read_csv(tmp_path / "far" / "history.csv"))


def test_a_run_without_weights(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(runs / "plane" / "config.yaml", tmp_path)
    assert guide.main([str(tmp_path), "goal=target"]) == 2
    assert "checkpoint.pt" in capsys.readouterr().err


def test_help_names_goals_and_ways(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        guide.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for word in ("inpaint", "superres", "source", "weights", "guidance=", "grad"):
        assert word in said
