"""The zoo: every pair is measured or says why it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import zoo
from harness.at_once import main
from symadj import GRADIENTS, SOLVERS
from symadj.report.names import MISSING


def run(*arguments: object) -> int:
    return main(zoo.EXPERIMENT, [str(argument) for argument in arguments])


def test_every_pair_is_measured_or_refused_and_all_is_redrawn(tmp_path: Path) -> None:
    assert run("--preset", "smoke", "--out", tmp_path) == 0
    points = pd.DataFrame(json.loads((tmp_path / "records.json").read_text())["points"])
    assert set(points["gradient"]) >= set(GRADIENTS)
    assert set(points["solver"]) == set(zoo.FEW)
    assert len(points) == len(zoo.GRADS) * len(zoo.FEW) * points["field"].nunique()
    good = points[(points["status"] == "ok") & (points["field"] != "stiff")]
    inexact = good["gradient"] == "adjoint"
    assert (good["error"][~inexact] < 1e-12).all()
    assert (good["error"][inexact] > 1e-9).all()
    assert (good["peak_bytes"] > 0).all()
    assert (good["seconds"] > 0).all()
    refused = points[(points["status"] != "ok") & (points["field"] != "stiff")]
    pairs = set(zip(refused["solver"], refused["gradient"], strict=True))
    assert {("dopri5", "reversible"), ("reversible_heun", "adjoint")} <= pairs
    assert "needs an explicit Runge-Kutta method" in (tmp_path / "refused.md").read_text()
    names = ("time.md", "memory.md", "error.md", "refused.md", "figures.md", "memory.png")
    written = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    assert run("--redraw", "--out", tmp_path) == 0
    assert {name: (tmp_path / name).read_bytes() for name in names} == written


def test_the_large_preset_has_every_solver(tmp_path: Path, capsys) -> None:
    assert set(zoo.SIZES["cpu"].solvers) == set(SOLVERS)
    assert run("--preset", "cpu", "--dry-run", "--out", tmp_path / "out") == 0
    assert "in all about" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_a_solve_that_fails_is_a_reason_too() -> None:
    class Explosion(torch.nn.Module):
        def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return 1e200 * y**3

    y0 = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    points = pd.DataFrame(zoo.pairs("explosion", Explosion(), y0, "heun", zoo.SIZES["smoke"]))
    told = points.set_index("gradient")
    assert told.at["symplectic", "status"] == "nonfinite"
    assert told.at["symplectic", "why"] == "the state became infinite or NaN in this step."
    assert "has no inverse" in str(told.at["reversible", "why"])


POINTS = pd.DataFrame(
    [
        {"field": "a", "solver": solver, "gradient": gradient, "status": "ok", "seconds": seconds}
        for solver, of in {"heun": (0.5, 1.0), "rk4": (0.2, 0.1)}.items()
        for gradient, seconds in zip(("backprop", "symplectic"), of, strict=True)
    ]
    + [
        {"field": "a", "solver": s, "gradient": "reversible", "status": "incompatible",
         "why": f"method={s} has no inverse."}
        for s in ("heun", "rk4")
    ]
)  # fmt: skip


def test_ratios_are_to_backpropagation_with_the_same_solver(monkeypatch) -> None:
    monkeypatch.setattr(zoo, "GRADS", dict.fromkeys(("backprop", "symplectic", "reversible")))
    table = zoo.table_of(POINTS, "seconds", str)
    assert table.loc[("a", "heun")].tolist() == ["0.5", "2.00", MISSING]
    assert table.loc[("a", "rk4")].tolist() == ["0.2", "0.50", MISSING]
    [row] = zoo.refused(POINTS).to_dict("records")
    assert row == {"solvers": "heun, rk4", "fields": "a", "why": "method=SOLVER has no inverse."}


@pytest.mark.parametrize(
    ("message", "first"),
    [
        ("a is none. Take b.", "a is none."),
        ("the step fell; it may be stiff [phase forward]", "the step fell."),
        ("grad.method=x is none [t=0]", "grad.method=x is none."),
    ],
)
def test_the_first_sentence_of_an_error(message: str, first: str) -> None:
    assert zoo.first_sentence(message) == first
