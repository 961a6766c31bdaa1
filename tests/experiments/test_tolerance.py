"""Likelihood against the tolerance: what its records say of the claim and of the cause."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest

import tolerance
import tolerance_report
from harness import main
from harness.results import FILE, thinned


def runs(
    nll: Callable[[str, float], float], grads: tuple[str, ...], atols: tuple[float, ...]
) -> pd.DataFrame:
    """Records of three seeds that differ, by the same for all methods, and by a bit besides."""
    rows = [
        {
            "part": "training",
            "grad": grad,
            "atol": atol,
            "seed": seed,
            "status": "ok",
            "metrics.test/nll": nll(grad, atol) - 0.5,
            "metrics.test/nll_tighter": nll(grad, atol) + seed + 1e-3 * (seed if i else -seed),
            "metrics.test/nll_gap": -0.5,
            "metrics.test/nll_truth": -2.0,
        }
        for i, grad in enumerate(grads)
        for atol in atols
        for seed in range(3)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"adjoint": 1.0}, "holds here."),
        ({"symplectic": 1.0}, "is refuted here: at loose tolerances it is the exact gradient"),
        ({}, "is neither confirmed nor refuted here"),
    ],
)
def test_the_verdict_is_that_of_the_differences(loss: Mapping[str, float], words: str) -> None:
    found = runs(
        lambda grad, atol: loss.get(grad, 0.0) if atol == 1e-2 else 0.0,
        ("adjoint", "symplectic"),
        (1e-8, 1e-2),
    )
    claim, details = tolerance_report.verdict(found)
    assert words in claim
    losers = [grad for grad in ("symplectic", "adjoint") if f"{grad} loses more" in details]
    assert losers == list(loss)
    assert "includes 0 at atol 1e-08" in details


def test_one_seed_says_nothing() -> None:
    found = runs(lambda grad, atol: 0.0, ("adjoint", "symplectic"), (1e-8,))
    alone = pd.DataFrame(found[found["seed"] == 0])
    assert "Too few seeds" in tolerance_report.verdict(alone)[0]
    assert "Too few seeds" in tolerance_report.cause(alone)[0]


@pytest.mark.parametrize(
    ("nll", "steps", "backward"),
    [
        ({"symplectic": 1, "symplectic_fixed": 1}, "it is the gradient", "makes no difference"),
        ({"symplectic": 1}, "vanishes with fixed steps", "makes no difference"),
        ({"symplectic": 1, "adjoint_tight": 1}, "vanishes", "does it good"),
        ({"adjoint": 1, "symplectic_fixed": 1}, "with fixed steps alone", "costs likelihood"),
    ],
)
def test_the_cause_is_told_from_the_cells(
    nll: Mapping[str, float], steps: str, backward: str
) -> None:
    grads = ("adjoint", "adjoint_fixed", "adjoint_tight", "symplectic", "symplectic_fixed")
    found = tolerance_report.cause(runs(lambda grad, atol: nll.get(grad, 0.0), grads, (1e-3,)))
    assert steps in found[0]
    assert backward in found[1]
    assert "symplectic_fixed -0.5" in found[2]


def test_of_a_history_the_validations_are_kept() -> None:
    table = pd.DataFrame({"iteration": range(1, 401), "val_nll": [None] * 400, "nll_gap": 0.5})
    table.loc[[49, 399], "val_nll"] = [2.0, 1.0]
    assert thinned(table)["iteration"] == [50, 400]
    assert thinned(pd.DataFrame(table[:10])) == {}


def test_records_hold_what_tables_and_figures_need(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(tolerance.EXPERIMENT, ["--preset", "smoke", "--out", str(out)]) == 0
    cells = json.loads((out / FILE).read_text())["cells"]
    trained = [cell for cell in cells if cell["labels"]["part"] == "training"]
    assert {cell["labels"]["grad"] for cell in trained} == set(tolerance.GRADS)
    causes = [cell["labels"]["grad"] for cell in cells if cell["labels"]["part"] == "cause"]
    assert set(causes) == set(tolerance.CAUSES)
    for cell in trained:
        assert cell["table"]["iteration"] == [2, 4, 5]
        assert all(gap is not None for gap in cell["table"]["nll_gap"])
        assert {"test/nll_tighter", "test/nll_gaussian"} <= set(cell["record"]["metrics"])
    table = (out / "nll.md").read_text()
    assert "fitted Gaussian" in table
    assert "truth" in table
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / FILE).write_text((out / FILE).read_text())
    assert main(tolerance.EXPERIMENT, ["--redraw", "--out", str(alone)]) == 0
    names = {"errors", "nll", "paired", "causes"}
    assert {path.stem for path in alone.glob("*.md")} == names
    assert {path.stem for path in alone.glob("*.png")} == {"errors", "tolerance"}
    for name in names:
        assert (alone / f"{name}.md").read_text() == (out / f"{name}.md").read_text()


def test_the_converged_tolerance_is_one() -> None:
    for atol in tolerance.GRID:
        command = tolerance.training((), "symplectic", atol, 0, 10, 5)
        said = dict(o.split("=") for o in command.overrides)
        factor = float(said["task.check_factor"])
        assert factor <= 0.1
        assert factor * atol <= 1.001e-7
        assert factor * float(said["solver.rtol"]) <= 1.001e-5
