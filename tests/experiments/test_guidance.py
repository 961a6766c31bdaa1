"""The experiment on gradients through a sampler: tiny, from its trainings to its tables."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import torch

import guidance
from guidance_points import GRADS, QUIET, REVERSIBLE, levels_of, measured
from harness.at_once import main
from symadj.config.compose import compose


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "guidance"
    threads = torch.get_num_threads()
    assert main(guidance.EXPERIMENT, ["--preset", "smoke", "--out", str(out)]) == 0
    torch.set_num_threads(threads)
    return out


def test_every_method_has_its_costs_and_exact_ones_their_gradient(folder: Path) -> None:
    points = json.loads((folder / "records.json").read_text())["points"]
    costs = [p for p in points if p["part"] == "cost"]
    assert {(p["net"], p["N"]) for p in costs} == {(n, s) for n in ("MLP", "U-Net") for s in (2, 3)}
    ok = [p for p in costs if p["status"] == "ok"]
    assert {p["grad"] for p in ok} >= {*GRADS, REVERSIBLE}
    for point in ok:
        assert point["memory"] > 0
        assert point["seconds"] > 0
        if point["grad"] in ("backprop", "checkpoint", "aca", "symplectic", "torchdiffeq"):
            assert point["error"] < 1e-5
    if find_spec("torchdiffeq") is not None:
        assert {p["grad"] for p in ok} >= {"torchdiffeq", "torchdiffeq adjoint"}


def test_every_way_has_its_success_with_an_interval(folder: Path) -> None:
    points = json.loads((folder / "records.json").read_text())["points"]
    reached = [p for p in points if p["part"] == "success"]
    assert {p["goal"] for p in reached} == {"classify", "inpaint"}
    assert {p["grad"] for p in reached} == set(guidance.STEPPED)
    for point in reached:
        assert point["status"] == "ok"
        assert point["low"] <= point["value"] <= point["high"]
        assert point["evaluations"] > 0
        assert point["samples"] == 3


def test_tables_figures_and_pictures_are_written(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"cost.md", "success.md", "cost.png", "success.png", "figures.md"} <= names
    assert {"classify.png", "inpaint.png"} <= names
    assert "on the same noise" in (folder / "success.md").read_text()
    assert main(guidance.EXPERIMENT, ["--redraw", "--out", str(folder)]) == 0


def test_methods_are_compared_sample_by_sample_at_their_largest_budgets() -> None:
    same = {"part": "success", "goal": "inpaint", "N": 5, "status": "ok"}
    values = {
        "source, exact": ([9.0, 9.0, 9.0], [3.0, 5.0, 4.0]),
        "source, continuous adjoint": ([0.0, 0.0, 0.0], [1.0, 3.0, 2.0]),
    }
    rows = [same | {"grad": grad, "values": v} for grad, both in values.items() for v in both]
    [told] = guidance.verdicts(pd.DataFrame(rows))
    assert told.endswith("source, exact less source, continuous adjoint 2 [2, 2].")


def test_what_is_trained_is_not_trained_again(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    assert len(before) == 4
    groups = measured(guidance.PLANS["smoke"], folder / "runs")
    after = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    assert after == before
    points = json.loads((folder / "records.json").read_text())["points"]
    [again] = groups["classify, N = 2, step n=0, one-step estimate"]()
    # The same networks: the same samples.
    assert again in points


@pytest.mark.parametrize("preset", guidance.PLANS)
def test_the_trainings_of_every_preset_compose(preset: str) -> None:
    plan = guidance.PLANS[preset]
    for net in plan.nets.values():
        compose("train", [*plan.data, "task=flow_matching", *net, *QUIET])
    for classifier in plan.classifiers:
        compose("train", [*plan.data, "task=classify", *classifier, *QUIET])


def test_levels_tell_what_is_not_known() -> None:
    images = torch.tensor([[[0.0, 1.0, float("nan")]]])
    assert levels_of(images) == [[[0, 255, -1]]]
