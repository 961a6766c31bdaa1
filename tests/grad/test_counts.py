"""The evaluation counts equal the formulas of the paper's cost column."""

from __future__ import annotations

import pytest
import torch

from symadj import GRADIENTS, SOLVERS, solve
from symadj.ode.stats import SolveStats
from tests.fields import Wave, start

T = torch.tensor([0.0, 1.0], dtype=torch.float64)
N = 5


def counts(gradient: str, method: str, options: dict | None, times=T, rtol=1e-4) -> SolveStats:
    solution = solve(
        Wave(), start(4, 3), times, method=method, options=options, gradient=gradient, rtol=rtol
    )
    solution.ys.sum().backward()
    return solution.stats


@pytest.mark.parametrize("method", SOLVERS)
def test_fixed_steps(method: str) -> None:
    s = len(SOLVERS[method].solution_stages)
    for gradient in GRADIENTS:
        stats = counts(gradient, method, {"num_steps": N})
        recomputed = N * (s - 1) if gradient == "symplectic" else 0
        expected = {"forward": N * s, "recomputed": recomputed, "with_graph": N * s, "vjps": N * s}
        found = stats.as_dict()
        assert {name: found[name] for name in expected} == expected, gradient
        assert stats.rejected == 0
        assert stats.accepted == (2 * N if gradient == "adjoint" else N), gradient


def test_adaptive_dopri5() -> None:
    for gradient in ("aca", "checkpoint", "symplectic"):
        stats = counts(gradient, "dopri5", {"first_step": 0.9}, rtol=1e-6)
        steps, tried = stats.accepted, stats.accepted + stats.rejected
        assert stats.rejected > 0
        # One for f(t0, y0); the end stage is the next step's first.
        assert stats.forward == 1 + 6 * tried
        assert stats.with_graph == stats.vjps == 6 * steps
        assert stats.recomputed == (5 * steps if gradient == "symplectic" else 0)
    stats = counts("backprop", "dopri5", {"first_step": 0.9}, rtol=1e-6)
    assert stats.forward == stats.with_graph == 1 + 6 * (stats.accepted + stats.rejected)
    assert stats.vjps == 6 * stats.accepted


def test_the_initial_step_costs_one_evaluation() -> None:
    chosen = counts("symplectic", "dopri5", None)
    assert chosen.forward == 2 + 6 * (chosen.accepted + chosen.rejected)


@pytest.mark.parametrize("method", ["heun", "bosh3", "dopri5", "tsit5"])
def test_output_times_cost_no_evaluations(method: str) -> None:
    many = torch.linspace(0, 1, 50, dtype=torch.float64)
    few = counts("symplectic", method, None)
    dense = counts("symplectic", method, None, many)
    assert dense.accepted == few.accepted
    # Hermite's polynomial needs f at each step's end: the next step's first stage, once more at
    # the very end.
    assert dense.forward <= few.forward + 1


def test_dop853_evaluates_its_extra_stages_only_where_an_output_falls() -> None:
    few = counts("symplectic", "dop853", {"num_steps": N})
    one_inside = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    some = counts("symplectic", "dop853", {"num_steps": N}, one_inside)
    # The end stage is handed on as the next step's first, so three evaluations more.
    assert some.forward - few.forward == 3


def test_bytes_of_outputs_and_checkpoints() -> None:
    state = 4 * 3 * 8
    for gradient, kept in {"symplectic": N, "aca": N, "checkpoint": 0, "adjoint": 0}.items():
        stats = counts(gradient, "rk4", {"num_steps": N})
        assert stats.checkpoint_bytes == kept * state, gradient
        assert stats.output_bytes == 2 * state
