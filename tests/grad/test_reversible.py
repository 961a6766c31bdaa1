"""Reversible methods: exact gradients from the end of a solve alone, in memory flat in N."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from symadj import IncompatibleError, SolverSettings, odeint, solve
from symadj.errors import ReversalError
from symadj.grad import Adjoint, Reversible
from symadj.grad.back_through import uses_back
from symadj.meters.live_bytes import StorageCounter
from symadj.ode.gradients import Sums, add_to
from symadj.ode.methods import reversible
from tests.fields import Energy, Pair, Wave, start
from tests.grad.test_contract import FINAL, INTERIOR, assert_equal, gradients_of

WAYS = {
    "alf": ("alf", {}),
    "alf-damped": ("alf", {"damping": 0.8}),
    "alf4": ("alf4", {}),
    "alf6": ("alf6", {}),
    "reversible_heun": ("reversible_heun", {}),
    **{
        f"reversible-{base}": ("reversible", {"base": base, "coupling": coupling})
        for base, coupling in (
            *(("euler", 0.99), ("midpoint", 1.0), ("bosh3", 0.999), ("rk4", 0.9)),
            *(("dopri5", 0.999), ("tsit5", 0.999), ("dop853", 0.99)),
        )
    },
}
ALL = pytest.mark.parametrize("way", WAYS)


@ALL
@pytest.mark.parametrize("times", [FINAL, INTERIOR], ids=["final", "interior"])
def test_fixed_steps(way: str, times: list[float]) -> None:
    method, options = WAYS[way]
    field, y0, options = Wave(), start(4, 3), {**options, "num_steps": 4}
    ours, solution = gradients_of(field, y0, times, "reversible", method, options)
    reference, _ = gradients_of(field, y0, times, "backprop", method, options)
    assert_equal(ours, reference, 1e-10)
    assert 0 <= solution.stats.reversal_error < 1e-12


@ALL
def test_adaptive_steps(way: str) -> None:
    method, options = WAYS[way]
    if options.get("base") in ("euler", "midpoint", "rk4"):
        pytest.skip("the base has no error estimate")
    field, y0 = Wave(), start(4, 3)
    ours, solution = gradients_of(field, y0, INTERIOR, "reversible", method, options)
    frozen = {**options, "grid": solution.steps.grid}
    reference, on_grid = gradients_of(field, y0, INTERIOR, "backprop", method, frozen)
    assert torch.equal(solution.ys, on_grid.ys)
    assert_equal(ours, reference, 1e-10)


@ALL
@pytest.mark.parametrize("gradient", ["aca", "checkpoint", "symplectic"])
def test_other_methods_go_with_them(way: str, gradient: str) -> None:
    method, options = WAYS[way]
    field, y0, options = Wave(), start(4, 3), {**options, "num_steps": 3}
    ours, _ = gradients_of(field, y0, INTERIOR, gradient, method, options)
    reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
    assert_equal(ours, reference)


@pytest.mark.parametrize("way", ["alf", "reversible_heun", "reversible-dopri5"])
def test_tuples_and_autograd_inside(way: str) -> None:
    method, options = WAYS[way]
    options = {**options, "num_steps": 3}
    for field, y0 in ((Pair(), (start(4, 3), start(4))), (Energy(), start(5, 2))):
        ours, _ = gradients_of(field, y0, INTERIOR, "reversible", method, options)
        reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
        assert_equal(ours, reference, 1e-10)


@ALL
def test_backward_in_time(way: str) -> None:
    method, options = WAYS[way]
    field, times, options = Wave(), [1.0, 0.7, 0.1, -0.4], {**options, "num_steps": 5}
    y0 = (0.2 * start(4, 3)).detach().requires_grad_()
    ours, _ = gradients_of(field, y0, times, "reversible", method, options)
    reference, _ = gradients_of(field, y0, times, "backprop", method, options)
    assert_equal(ours, reference, 1e-10)


def peak_of(way: str, n: int) -> int:
    """Peak bytes of a solve of n steps and its gradient, times and all."""
    method, options = WAYS[way]
    field, y0 = Wave(dtype=torch.float32), start(256, 3, dtype=torch.float32)
    with StorageCounter() as counter:
        ys = odeint(
            field, y0, torch.tensor([0.0, 0.5]), method=method,
            options={**options, "num_steps": n}, gradient="reversible",
        )  # fmt: skip
        ys[-1].square().mean().backward()
    return counter.peak


@pytest.mark.parametrize("way", ["alf", "alf4", "reversible_heun", "reversible-dopri5"])
def test_memory_does_not_grow_with_the_steps(way: str) -> None:
    few, many = (peak_of(way, n) for n in (10, 200))
    assert many == few


COUNTS = {
    # Of N steps: evaluations without graph, and with.
    "alf": (0, lambda n: n + 1),
    "alf4": (0, lambda n: 10 * n + 1),
    "reversible_heun": (0, lambda n: n + 1),
    "reversible-euler": (0, lambda n: 2 * n),
    "reversible-rk4": (7, lambda n: 8 * n),
    # The stage of the base's error estimate alone is of no use backward.
    "reversible-dopri5": (11, lambda n: 12 * n),
    "reversible-dop853": (23, lambda n: 24 * n),
}


@pytest.mark.parametrize("way", COUNTS)
def test_evaluations_of_the_way_back(way: str) -> None:
    """One graph at a time: a stage is evaluated once where all after it are done."""
    method, options = WAYS[way]
    again, graphs = COUNTS[way]
    t, n = torch.tensor([0.0, 1.0]), 5
    solution = solve(
        Wave(), start(4, 3), t, method=method, gradient="reversible",
        options={**options, "num_steps": n},
    )  # fmt: skip
    solution.ys[-1].sum().backward()
    stats = solution.stats
    # One more compares the field with that of the solve.
    assert stats.recomputed == n * again + 1
    assert stats.with_graph == stats.vjps == graphs(n)
    solver = reversible(SolverSettings(method=method, **options, num_steps=n).solver)
    assert uses_back(solver, n) == n * again + 2 * graphs(n)


@pytest.mark.parametrize(
    ("way", "again"), [("alf", 0), ("reversible_heun", 1), ("reversible-rk4", 7)]
)
def test_the_last_stage_of_a_kept_step_is_not_evaluated_twice(way: str, again: int) -> None:
    method, options = WAYS[way]
    solution = solve(
        Wave(), start(4, 3), torch.tensor([0.0, 1.0]), method=method, gradient="symplectic",
        options={**options, "num_steps": 5},
    )  # fmt: skip
    solution.ys[-1].sum().backward()
    assert solution.stats.recomputed == 5 * again


@pytest.mark.parametrize("way", ["alf", "reversible_heun", "reversible-rk4"])
def test_a_field_that_differentiates_itself(way: str) -> None:
    class Decay(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = torch.nn.Parameter(torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return -torch.sin(self.rate * y)

        def pull_back(self, t: Tensor, y: Tensor, w: Tensor, sums: Sums) -> Tensor:
            slope = -torch.cos(self.rate * y) * w
            add_to(sums, self.rate, (slope * y).sum(0))
            return slope * self.rate

    method, options = WAYS[way]
    field, y0, options = Decay(), start(4, 3), {**options, "num_steps": 4}
    ours, _ = gradients_of(field, y0, INTERIOR, "reversible", method, options)
    reference, _ = gradients_of(field, y0, INTERIOR, "backprop", method, options)
    assert_equal(ours, reference, 1e-10)


def test_a_start_that_is_missed_is_refused() -> None:
    """Damped leapfrog backward amplifies rounding by 1 / |1 - 2 eta| in every step."""
    field, y0 = Wave(), start(4, 3)
    options = {"num_steps": 40, "damping": 0.7}
    t = torch.tensor([0.0, 1.0])
    ys = odeint(field, y0, t, method="alf", options=options, gradient="reversible")
    with pytest.raises(ReversalError, match=r"rounding has grown .* gradient=\"symplectic\""):
        ys[-1].sum().backward()
    lenient = Reversible(check=False)
    solution = solve(field, y0, t, method="alf", options=options, gradient=lenient)
    solution.ys[-1].sum().backward()
    assert solution.stats.reversal_error > 1e-3


@pytest.mark.parametrize(
    ("method", "options"), [("dopri5", {}), ("alf", {"damping": 0.5, "num_steps": 4})]
)
def test_a_method_without_inverse_is_refused(method: str, options: dict) -> None:
    with pytest.raises(IncompatibleError, match=f"method={method} has no inverse"):
        odeint(
            Wave(), start(4, 3), torch.tensor([0.0, 1.0]), method=method, options=options,
            gradient="reversible",
        )  # fmt: skip


@pytest.mark.parametrize("options", [{"base": "dopri5"}, {"coupling": 0.9}, {"damping": 0.9}])
def test_options_of_another_method_are_refused(options: dict) -> None:
    with pytest.raises(IncompatibleError, match="is an option of method="):
        odeint(Wave(), start(4, 3), torch.tensor([0.0, 1.0]), method="heun", options=options)


def test_the_adjoint_method_needs_a_runge_kutta_method_backward() -> None:
    t, options = torch.tensor([0.0, 0.5], dtype=torch.float64), {"damping": 0.9, "num_steps": 40}
    field, y0 = Wave(), start(4, 3)
    with pytest.raises(IncompatibleError, match=r"grad\.method.* and method=alf is none"):
        odeint(field, y0, t, method="alf", options=options, gradient="adjoint")
    ys = odeint(field, y0, t, method="alf", options=options, gradient=Adjoint(method="rk4"))
    exact = odeint(field, y0, t, method="alf", options=options, gradient="reversible")
    ours, other = (torch.autograd.grad(y[-1].sum(), y0)[0] for y in (ys, exact))
    # The damped method is of order 1, and both errors are of its steps.
    assert 0 < (ours - other).norm() < 1 / 40 * other.norm()
