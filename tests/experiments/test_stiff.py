"""Stiff problems: one formula in all software, known solutions, tables drawn from records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import stiff
from harness.at_once import main
from stiff_problems import PROBLEMS, StiffProblem, TorchField, hires, network, robertson
from stiff_solves import by_scipy, by_symadj, gradients, reference


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_formula_is_the_same_in_numpy_torch_and_jax(name: str) -> None:
    problem = PROBLEMS[name]()
    y = problem.y0 + 0.1
    flat = problem.in_numpy(0.0, y.ravel()).reshape(y.shape)
    ours = TorchField(problem)(torch.zeros(()), torch.from_numpy(y)).detach().numpy()
    np.testing.assert_allclose(ours, flat, rtol=1e-12, atol=1e-12)
    jax = pytest.importorskip("jax")
    with jax.enable_x64() if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        theirs = problem.formula(jax.numpy, jax.numpy.asarray(y), problem.parameters)
    np.testing.assert_allclose(np.asarray(theirs), flat, rtol=1e-9, atol=1e-6)


def test_hires_ends_where_it_is_known_to() -> None:
    """The first and the last entry of the reference of the IVP test set (Mazzia, Magherini)."""
    exact = reference(hires())
    assert exact[-1, 0] == pytest.approx(0.7371312573325668e-3, rel=1e-7)
    assert exact[-1, 7] == pytest.approx(0.2850001604866013e-2, rel=1e-6)


def test_solvers_reach_the_reference_and_explicit_ones_their_limit(monkeypatch) -> None:
    problem = robertson()
    exact = reference(problem)
    monkeypatch.setattr("stiff_solves.EXPLICIT", ("dopri5",))
    monkeypatch.setattr("stiff_solves.IMPLICIT", ("radau5",))
    monkeypatch.setattr("stiff_solves.MAX_STEPS", 500)
    rows = [*by_symadj(problem, exact, [1e-4], 1), *by_scipy(problem, exact, [1e-4], 1)]
    found = {row["row"]: row for row in rows}
    assert found["dopri5"]["status"] == "MaxStepsExceeded"
    for name in ("radau5", "SciPy Radau", "SciPy BDF"):
        assert found[name]["status"] == "ok"
        assert found[name]["error"] < 1e-2
    assert found["radau5"]["jacobians"] > 0


def test_gradients_are_exact_and_need_less_memory() -> None:
    problem = network(systems=4, dim=3, width=8)
    short = StiffProblem(**{**vars(problem), "t": np.linspace(0.0, 0.05, 3)})
    found = {row["row"]: row for row in gradients(short, "kvaerno5", 1e-6, 1)}
    for name in ("checkpoint", "aca", "symplectic"):
        assert found[name]["error"] < 1e-8, name
    assert found["symplectic"]["peak_bytes"] < 0.5 * found["backprop"]["peak_bytes"]


@pytest.mark.slow
@pytest.mark.heavy
def test_an_experiment_is_redrawn_from_its_records(tmp_path: Path) -> None:
    pytest.importorskip("diffrax")
    main(stiff.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)])
    names = ("solutions.md", "gradients.md", "work_precision_seconds.png")
    written = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    main(stiff.EXPERIMENT, ["--redraw", "--out", str(tmp_path)])
    assert {name: (tmp_path / name).read_bytes() for name in names} == written
    assert "no explicit method ends" in (tmp_path / "solutions.md").read_text()
