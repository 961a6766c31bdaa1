"""The worked examples of CONTRIBUTING.md, typed as printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from symadj import odeint
from symadj.config.build import build
from symadj.config.compose import compose
from symadj.ode.gradients import add_to
from symadj.ode.methods import SOLVERS, RungeKutta

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def block(kind: str, holding: str) -> str:
    """The block of code in which this stands."""
    [found] = [b for b in re.findall(rf"```{kind}\n(.*?)```", TEXT, re.S) if holding in b]
    return found


def test_the_solver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names: dict = {}
    exec(block("python", "RALSTON ="), names)
    monkeypatch.setitem(SOLVERS, "ralston", RungeKutta(names["RALSTON"]))
    y0, t = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)

    def error(n: int) -> float:
        ys = odeint(lambda t, y: -y * t, y0, t, method="ralston", options={"num_steps": n})
        return abs(float(ys[-1]) - np.exp(-0.5))

    assert np.log2(error(20) / error(40)) == pytest.approx(2, abs=0.1)
    (tmp_path / "solver").mkdir()
    (tmp_path / "solver/ralston.yaml").write_text(block("yaml", "method: ralston"))
    config = compose("train", ["solver=ralston", "solver.num_steps=3"], tmp_path)
    assert build(config["solver"], "solver").method == "ralston"


def test_the_field_that_differentiates_itself() -> None:
    names: dict = {"nn": torch.nn, "torch": torch, "add_to": add_to}
    exec(block("python", "class Decay"), names)
    decay, y0 = names["Decay"](3).double(), torch.rand(4, 3, dtype=torch.float64)
    t, grads = torch.tensor([0.0, 1.0], dtype=torch.float64), []
    for func in (decay, lambda t, y: -decay.rate * y):
        ys = odeint(func, y0, t, method="rk4", options={"num_steps": 3})
        grads += torch.autograd.grad(ys[-1].sin().sum(), decay.rate)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_the_data_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "moebius.py").write_text(block("python", "class Moebius"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    text = block("yaml", "Moebius").replace("symadj.data.moebius", "moebius")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/moebius.yaml").write_text(text)
    data = build(compose("train", ["data=moebius", "seed=3"], tmp_path)["data"], "data")
    assert (data.dim, len(data.train), len(data.test)) == (3, 8000, 1000)
    # The middle of the strip is a circle of radius 1.
    radius = data.train[:, :2].norm(dim=1)
    assert abs(float(radius.mean()) - 1) < 0.02
    sys.modules.pop("moebius")
