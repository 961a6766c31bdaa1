"""Step controllers compared: the comparison itself, and that all software solves one problem."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import controllers
from controllers_problems import CLASSICAL, OdeProblem, problem_named
from controllers_report import compare, log_ratios
from controllers_solves import (
    CONTROLLERS,
    DIFFRAX_STAGES,
    Diffrax,
    by_torchdiffeq,
    controlled,
    longest_first_step,
    ours,
    reference,
    settings_of,
)
from harness.at_once import main
from symadj import solve


def curve(evaluations: list[float], errors: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"evaluations": evaluations, "error": errors})


def test_curves_are_compared_at_equal_error() -> None:
    errors = np.array([1e-2, 1e-4, 1e-6])
    base = curve(list(10 * errors**-0.2), list(errors))
    # A tenth more evaluations at every error, at tolerances that give other errors.
    others = np.array([3e-3, 1e-5, 1e-7])
    other = curve(list(11 * others**-0.2), list(others))
    np.testing.assert_allclose(log_ratios(base, other), np.log(1.1), rtol=1e-12)
    np.testing.assert_allclose(log_ratios(other, base), -np.log(1.1), rtol=1e-12)
    assert not len(log_ratios(base, curve([1.0, 2.0], [1e-8, 1e-9])))


def test_a_lucky_error_does_not_turn_a_curve_around() -> None:
    base = curve([10, 20, 40], [1e-1, 1e-2, 1e-3])
    lucky = curve([10, 20, 40], [1e-1, 9e-4, 1e-3])
    ratios = log_ratios(base, lucky)
    assert ratios.min() > -np.log(4)
    assert ratios.max() < np.log(2)


def test_the_references_are_solutions() -> None:
    kepler = problem_named("kepler")
    [ys] = reference(kepler)
    # Two whole orbits, and a half of one.
    torch.testing.assert_close(ys[-1], ys[0], rtol=0, atol=1e-9)
    turned = torch.tensor([-1.6, 0.0, 0.0, -0.5], dtype=torch.float64)
    torch.testing.assert_close(ys[5], turned, rtol=0, atol=1e-9)


def test_pi_beta_is_scaled_by_the_order_of_the_estimate() -> None:
    assert {c.pi_beta for c in [controlled("PI 0.2/q", "dopri5", 1e-3)]} == {0.04}
    assert controlled("PI 0.4/q", "bosh3", 1e-3).pi_beta == pytest.approx(0.4 / 3)
    assert controlled("PI 0.4/q", "dop853", 1e-3).pi_beta == 0.05


@pytest.mark.parametrize("solver", ["dopri5", "dop853"])
def test_the_known_first_step_is_as_long_as_it_can_be(solver: str) -> None:
    lorenz = problem_named("lorenz")
    settings = settings_of(solver, 1e-6)
    h = longest_first_step(lorenz, settings)

    def first(h: float) -> float:
        more = {"first_step": h, "max_steps": settings.max_steps}
        with torch.no_grad():
            steps = solve(
                lorenz.f, lorenz.y0, lorenz.t, method=solver, rtol=1e-6, atol=1e-8, options=more
            ).steps
        return float(steps.h[0])

    assert first(h) == h
    assert first(1.2 * h) < 1.2 * h


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_classical_problem_in_jax_is_that_in_torch(name: str) -> None:
    pytest.importorskip("diffrax")
    precision = importlib.import_module("symadj.bench.peers.diffrax_peer").precision
    problem: Any = problem_named(name)
    with precision(torch.float64):
        theirs = np.array(problem.in_jax()(0.0, problem.y0.numpy()))
    np.testing.assert_allclose(problem.f(0.0, problem.y0).numpy(), theirs, rtol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("solver", DIFFRAX_STAGES)
def test_evaluations_of_diffrax_are_those_that_it_makes(solver: str) -> None:
    jax = pytest.importorskip("jax")
    pytest.importorskip("diffrax")
    precision = importlib.import_module("symadj.bench.peers.diffrax_peer").precision
    lorenz = problem_named("lorenz")
    made = 0

    def count() -> None:
        nonlocal made
        made += 1

    def counted() -> Any:
        f = lorenz.in_jax()

        def field(t: Any, y: Any) -> Any:
            jax.debug.callback(count)
            return f(t, y)

        return field

    problem = dataclasses.replace(lorenz, in_jax=counted)
    with precision(torch.float64):
        rows = Diffrax(problem, solver).rows(reference(lorenz), 1e-3)
        for row in rows:
            jax.effects_barrier()
            assert row["evaluations"] == made
            assert row["rejected"] > 0
            made = 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnf_toy", "latent", "van_der_pol"])
def test_all_software_solves_the_problem(name: str) -> None:
    pytest.importorskip("diffrax")
    pytest.importorskip("torchdiffeq")
    precision = importlib.import_module("symadj.bench.peers.diffrax_peer").precision
    problem: OdeProblem = problem_named(name)
    exact = reference(problem)
    with precision(torch.float64):
        rows = [
            *ours(problem, exact, "dopri5", 1e-5),
            *by_torchdiffeq(problem, exact, "dopri5", 1e-5),
            *Diffrax(problem, "dopri5").rows(exact, 1e-5),
        ]
    assert len({row["row"] for row in rows}) == len(CONTROLLERS) + 3
    assert all(0 < row["error"] <= row["error_outputs"] < 1e-2 for row in rows)


@pytest.mark.slow
def test_an_experiment_is_redrawn_from_its_records(tmp_path: Path, monkeypatch, capsys) -> None:
    pytest.importorskip("diffrax")
    pytest.importorskip("torchdiffeq")
    small = dataclasses.replace(controllers.PRESETS["smoke"], problems=("lorenz",))
    monkeypatch.setitem(controllers.PRESETS, "smoke", small)
    main(controllers.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)])
    names = ("overall.md", "problems.md", "first_step.md", "relative.png", "work_precision.png")
    written = {name: (tmp_path / name).read_bytes() for name in names}
    for name in names:
        (tmp_path / name).unlink()
    main(controllers.EXPERIMENT, ["--redraw", "--out", str(tmp_path)])
    assert {name: (tmp_path / name).read_bytes() for name in names} == written
    assert "min (" in told(capsys, tmp_path)


def told(capsys: pytest.CaptureFixture, out: Path) -> str:
    capsys.readouterr()
    main(controllers.EXPERIMENT, ["--dry-run", "--out", str(out)])
    return capsys.readouterr().out


def test_a_comparison_has_a_row_for_each_controller_and_solver() -> None:
    errors = [1e-2, 1e-3]
    points = pd.DataFrame(
        {"problem": "p", "solver": s, "row": r, "evaluations": n, "error": e}
        for s in ("dopri5", "bosh3")
        for r, factor in (("I", 10.0), ("PI 0.04", 12.0))
        for n, e in zip((factor, 2 * factor), errors, strict=True)
    )
    found = compare(points)
    assert list(found["row"]) == ["PI 0.04", "PI 0.04"]
    np.testing.assert_allclose(found["mean"], np.log(1.2))
    np.testing.assert_allclose(found["std"], 0.0, atol=1e-12)
