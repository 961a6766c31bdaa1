"""The evaluation counts equal the formulas of the paper's cost column."""

from __future__ import annotations

import pytest
import torch
from checkpoint_schedules import optimal_steps_binomial

from symadj import SOLVERS, solve
from symadj.grad import GradientMethod, Symplectic
from symadj.grad.stores.revolve import recomputed_steps
from symadj.ode.methods import TABLEAUS
from symadj.ode.stats import SolveStats
from tests.fields import Wave, start
from tests.grad.variants import GENERAL

T = torch.tensor([0.0, 1.0], dtype=torch.float64)
N = 5
STATE = 4 * 3 * 8


def counts(
    gradient: str | GradientMethod, method: str, options: dict | None, times=T, rtol=1e-4
) -> SolveStats:
    solution = solve(
        Wave(), start(4, 3), times, method=method, options=options, gradient=gradient, rtol=rtol
    )
    solution.ys.sum().backward()
    return solution.stats


@pytest.mark.parametrize("method", TABLEAUS)
def test_fixed_steps(method: str) -> None:
    s = SOLVERS[method].uses
    for gradient in GENERAL:
        stats = counts(gradient, method, {"num_steps": N})
        # Whether the field is still the same, adjoint must look by an evaluation of its own.
        recomputed = {"symplectic": N * (s - 1), "adjoint": 1}.get(gradient, 0)
        expected = {"forward": N * s, "recomputed": recomputed, "with_graph": N * s, "vjps": N * s}
        found = stats.as_dict()
        assert {name: found[name] for name in expected} == expected, gradient
        assert stats.rejected == 0
        assert stats.accepted == (2 * N if gradient == "adjoint" else N), gradient


@pytest.mark.parametrize(("at_once", "recomputed"), [(1, 5), (2, 4), (6, 0), (20, 0)])
def test_stages_at_once_save_evaluations(at_once: int, recomputed: int) -> None:
    stats = counts(Symplectic(stages_at_once=at_once), "dopri5", {"num_steps": N})
    assert stats.recomputed == N * recomputed
    assert stats.with_graph == stats.vjps == 6 * N


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
    # The states that the method needs, and f(t0, y0), which the backward pass compares.
    kept_states = {"symplectic": N + 1, "aca": N + 1, "checkpoint": 1, "adjoint": 1}
    for gradient, kept in kept_states.items():
        stats = counts(gradient, "rk4", {"num_steps": N})
        assert stats.checkpoint_bytes == kept * STATE, gradient
        assert stats.output_bytes == 2 * STATE


@pytest.mark.parametrize("method", TABLEAUS)
def test_kept_stages_are_not_recomputed(method: str) -> None:
    inside = torch.tensor([0.0, 0.33, 0.71, 1.0], dtype=torch.float64)
    for times in (T, inside):
        stats = counts(Symplectic(store="stages"), method, {"num_steps": N}, times)
        assert stats.recomputed == 0
        assert stats.vjps == counts("symplectic", method, {"num_steps": N}, times).vjps


def test_kept_stages_are_not_recomputed_with_rejected_steps() -> None:
    stats = counts(Symplectic(store="stages"), "dopri5", {"first_step": 0.9}, rtol=1e-6)
    assert stats.rejected > 0
    assert stats.recomputed == 0
    # y0 and k_1 to k_5; b_2 = 0, but k_2 enters the third stage's state.
    assert stats.checkpoint_bytes == 6 * stats.accepted * STATE


def test_a_stage_that_two_steps_share_is_kept_once() -> None:
    inside = torch.linspace(0, 1, 3 * N + 1, dtype=torch.float64)
    stats = counts(Symplectic(store="stages"), "dop853", {"num_steps": N}, inside)
    solver = SOLVERS["dop853"]
    # The end stage is one that the dense output's own stages need, and the next step's first.
    needed = solver.needed_stages([0.5])
    assert solver.end in needed[:-1]
    assert stats.checkpoint_bytes == (N * len(needed) - (N - 1)) * STATE


@pytest.mark.parametrize(("steps", "slots"), [(7, 2), (23, 4), (40, 6), (5, 9)])
def test_revolve_recomputes_as_often_as_the_optimal_schedule(steps: int, slots: int) -> None:
    stats = counts(Symplectic(store="revolve", slots=slots), "rk4", {"num_steps": steps})
    # The schedule's own count has the forward pass's N - 1 steps and the N that are pulled back.
    total = optimal_steps_binomial(steps, min(slots - 1, steps - 1))
    again = total - steps - (steps - 1)
    assert recomputed_steps(steps, slots) == again
    assert stats.recomputed == 3 * steps + 4 * again
    assert stats.checkpoint_bytes == (min(slots, steps) + 1) * STATE


def test_revolve_costs_little_more_where_the_number_of_steps_is_not_known() -> None:
    stats = counts(Symplectic(store="revolve", slots=5), "bosh3", None, rtol=1e-6)
    steps = stats.accepted
    assert steps > 50
    again = (stats.recomputed - 2 * steps) / 3
    assert recomputed_steps(steps, 5) <= again <= 1.25 * recomputed_steps(steps, 5)
    assert stats.checkpoint_bytes <= (5 + 1) * STATE


def test_what_is_on_disk_takes_no_memory() -> None:
    assert counts(Symplectic(offload="disk"), "rk4", {"num_steps": N}).checkpoint_bytes == 0
