"""Baselines of a likelihood, and what the records of the experiment say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal

import flows
import likelihood
from harness import main
from harness.results import FILE
from symadj.data.base import VectorData
from symadj.data.digits import Digits
from symadj.data.mixture import Mixture


def test_baselines_are_those_of_their_formulas() -> None:
    data = Mixture(3, size=4000)
    x = data.test
    found = flows.baselines(data, x)
    assert found["nll_truth"] == pytest.approx(-float(data.log_prob(x).mean()))
    plain = multivariate_normal(np.zeros(3), np.eye(3))  # pyright: ignore
    assert found["nll_normal"] == pytest.approx(-plain.logpdf(x.numpy()).mean())
    train = data.train.numpy()
    fit = multivariate_normal(train.mean(0), np.cov(train.T, bias=True))  # pyright: ignore
    assert found["nll_gaussian"] == pytest.approx(-fit.logpdf(x.numpy()).mean(), abs=2e-3)
    assert found["nll_truth"] < found["nll_gaussian"] < found["nll_normal"] + 0.01
    assert set(found) == {"nll_truth", "nll_normal", "nll_gaussian"}


def test_few_rows_are_shrunk() -> None:
    rows = torch.randn(30, 40, dtype=torch.float64)
    data = VectorData("few", rows[:20], rows[20:25], rows[25:])
    found = flows.baselines(data, data.test)
    assert np.isfinite(found["nll_gaussian"])
    assert found["nll_gaussian"] < 1.2 * found["nll_normal"]


def test_images_have_bits_per_dimension_too() -> None:
    data = Digits()
    found = flows.baselines(data, data.test)
    bits = data.bits_per_dim(data.test, flows.fitted(data).log_prob(data.test)).mean()
    assert found["bits_gaussian"] == pytest.approx(float(bits))
    assert found["bits_gaussian"] < found["bits_normal"]


def runs(differences: dict[str, float], far: float = 0.05) -> pd.DataFrame:
    """Records of four seeds on a mixture, whose NLLs differ from backprop's by so much."""
    rows = [
        {
            "data": "mixture",
            "grad": grad,
            "seed": seed,
            "status": "ok",
            "metrics.test/nll": 1.0 + far + difference + 0.02 * seed,
            "metrics.test/nll_truth": 1.0,
            "metrics.test/nll_gaussian": 3.0,
        }
        for grad, difference in {"backprop": 0.0, **differences}.items()
        for seed in range(4)
    ]
    return pd.DataFrame(rows)


def test_the_verdict_is_that_of_the_paired_differences() -> None:
    same, goal = likelihood.verdict(runs({"adjoint": 0.01, "symplectic": 0.0}))
    assert "All methods reach the same likelihood here" in same
    assert "2 of 2 cases" in same
    assert "0.01 [0.01, 0.01] nats (adjoint, mixture)" in same
    assert "not within" not in goal
    apart, goal = likelihood.verdict(runs({"adjoint": 0.5, "symplectic": 0.0}, far=0.4))
    assert "Not all methods" in apart
    assert "adjoint on mixture differ" in apart
    assert "not within 0.1" in goal


@pytest.mark.heavy
def test_records_hold_what_tables_and_figures_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "GRADS", ("adjoint_full", "backprop", "symplectic"))
    out = tmp_path / "out"
    assert main(likelihood.EXPERIMENT, ["--preset", "smoke", "--out", str(out)]) == 0
    cells = json.loads((out / FILE).read_text())["cells"]
    assert len(cells) == 12
    seminorm = {c["labels"]["grad"]: c["record"]["config"]["grad"].get("seminorm") for c in cells}
    assert seminorm == {"adjoint_full": False, "backprop": None, "symplectic": None}
    table = (out / "likelihood.md").read_text()
    for row in ("| truth", "| fitted Gaussian", "| N(0, I)", "| adjoint_full"):
        assert row in table
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / FILE).write_text((out / FILE).read_text())
    assert main(likelihood.EXPERIMENT, ["--redraw", "--out", str(alone)]) == 0
    assert (alone / "likelihood.md").read_text() == table
    assert (alone / "likelihood.png").stat().st_size > 1000
