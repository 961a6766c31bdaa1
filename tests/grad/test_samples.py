"""With batch="independent" every sample is solved, and differentiated, as if it were alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import SOLVERS, IncompatibleError, odeint, solve
from symadj.errors import (
    FieldChangedError,
    InputError,
    MaxStepsExceeded,
    NonFiniteError,
    StepSizeUnderflow,
)
from symadj.grad import ACA, Symplectic
from symadj.ode.methods import RungeKutta
from tests.fields import Energy, Wave, start

ADAPTIVE = [
    name for name, m in SOLVERS.items() if isinstance(m, RungeKutta) and m.error_order is not None
]
WAYS = [
    "symplectic",
    "backprop",
    "aca",
    "checkpoint",
    pytest.param(Symplectic(store="stages"), id="symplectic-stages"),
    pytest.param(Symplectic(stages_at_once=3), id="symplectic-3-at-once"),
    pytest.param(ACA(offload="disk"), id="aca-disk"),
]
TIMES = torch.tensor([0.0, 0.11, 0.13, 0.5, 0.77, 1.3], dtype=torch.float64)
LOOSE: dict[str, Any] = {"rtol": 1e-2, "atol": 1e-2}


class Oscillators(nn.Module):
    """Damped oscillators with the frequency of each in the state, and a drive."""

    def __init__(self) -> None:
        super().__init__()
        self.damping = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))
        self.drive = nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v, w = y.unbind(-1)
        force = (self.drive * torch.sin(3 * t)).squeeze(-1)
        return torch.stack([v, -(w**2) * torch.sin(x) - self.damping * v + force, 0 * w], -1)


def oscillators(*frequencies: float) -> Tensor:
    w = torch.tensor(frequencies, dtype=torch.float64)
    return torch.stack([torch.ones_like(w), 0 * w, w], 1).requires_grad_()


def loss_of(ys: Tensor) -> Tensor:
    weights = torch.arange(1, len(ys) + 1, dtype=ys.dtype).reshape(-1, *[1] * (ys.dim() - 1))
    return (weights * torch.sin(ys)).sum()


def one_by_one(field, y0, t, options=None, **settings):
    """The solutions of batches of one, and the gradients on their frozen grids by backprop."""
    inputs = [y0, *(p for p in field.parameters() if p.requires_grad)]
    rows = t if t.dim() == 2 else t.expand(len(y0), -1)
    alone, loss = [], torch.zeros((), dtype=torch.float64)
    for i, own in enumerate(rows):
        alone.append(solve(field, y0[i : i + 1], own.detach(), options=options, **settings))
        kept = {name: value for name, value in (options or {}).items() if name == "interp"}
        frozen = {"grid": alone[-1].steps.grid, **kept}
        by_backprop: dict[str, Any] = {**settings, "gradient": "backprop"}
        again = solve(field, y0[i : i + 1], own.detach(), options=frozen, **by_backprop)
        loss = loss + loss_of(again.ys)
    return alone, torch.autograd.grad(loss, inputs, allow_unused=True)


def assert_as_alone(field, y0, t, options=None, **settings):
    """Values, steps, and gradients; returns the solution, and its counts."""
    alone, reference = one_by_one(field, y0, t, options, **settings)
    solution = solve(field, y0, t, options=options, batch="independent", **settings)
    inputs = [y0, *(p for p in field.parameters() if p.requires_grad)]
    ours = torch.autograd.grad(loss_of(solution.ys), inputs, allow_unused=True)
    torch.testing.assert_close(
        solution.ys, torch.cat([one.ys for one in alone], 1), rtol=1e-12, atol=1e-12
    )
    assert solution.samples is not None
    assert solution.samples.accepted.tolist() == [one.stats.accepted for one in alone]
    assert solution.samples.rejected.tolist() == [one.stats.rejected for one in alone]
    for one, own in zip(alone, solution.steps, strict=True):
        torch.testing.assert_close(own.t, one.steps.t, rtol=1e-10, atol=1e-12)
        assert own.end == one.steps.end
    for mine, other in zip(ours, reference, strict=True):
        assert (mine is None) == (other is None)
        if mine is not None:
            assert (mine - other).norm() < 1e-10 * other.norm().clamp_min(1e-3)
    return solution, solution.samples


@pytest.mark.parametrize(
    ("method", "gradient"),
    [
        *((method, "symplectic") for method in ADAPTIVE),
        *(pytest.param("bosh3", *p.values, id=f"bosh3-{p.id}") for p in WAYS[4:]),
        *((method, way) for method in ("bosh3", "dop853") for way in WAYS[1:4]),
    ],
)
def test_every_method_steps_and_differentiates_as_alone(method: str, gradient) -> None:
    y0, options = oscillators(0.5, 7.0, 2.0), {"first_step": 0.9}
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if method == "fehlberg2" else LOOSE
    _, samples = assert_as_alone(
        Oscillators(), y0, TIMES, options, method=method, gradient=gradient, **tolerance
    )
    assert len(set(samples.accepted.tolist())) > 1
    assert samples.rejected.sum() > 0


@pytest.mark.parametrize("gradient", WAYS[:4])
@pytest.mark.parametrize("options", [None, {"num_steps": 4}], ids=["adaptive", "fixed"])
def test_spans_and_directions_of_their_own(options, gradient) -> None:
    begin = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64)
    t = begin[:, None] + torch.tensor([[2.0], [-0.7], [0.1]], dtype=torch.float64) * TIMES
    y0 = (0.3 * start(3, 3)).detach().requires_grad_()
    solution, _ = assert_as_alone(Wave(), y0, t, options, gradient=gradient, **LOOSE)
    assert (solution.steps[1].h < 0).all()
    assert (solution.steps[2].h > 0).all()


@pytest.mark.parametrize(
    "options",
    [
        {"step_t": [0.2, 0.9]},
        {"max_step": 0.2},
        {"min_step": 0.3},
        {"first_step": 1.0, "pi_beta": 0.04},
        {"step_size": 0.3},
        {"interp": "linear"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_settings_of_the_steps(options) -> None:
    assert_as_alone(Oscillators(), oscillators(0.5, 9.0, 3.0), TIMES, options, **LOOSE)


@pytest.mark.parametrize("gradient", WAYS[:4])
def test_gradients_of_the_times(gradient) -> None:
    field, y0 = Wave(), start(3, 3)
    t = (torch.tensor([[1.0], [0.6], [0.2]], dtype=torch.float64) * TIMES).requires_grad_()
    ys = odeint(field, y0, t, gradient=gradient, batch="independent", **LOOSE)
    (ours,) = torch.autograd.grad(loss_of(ys), [t])
    for i in range(3):
        own = t[i].detach().requires_grad_()
        alone = odeint(field, y0[i : i + 1], own, gradient=gradient, **LOOSE)
        (other,) = torch.autograd.grad(loss_of(alone), [own])
        torch.testing.assert_close(ours[i], other, rtol=1e-10, atol=1e-10)
    shared = TIMES.clone().requires_grad_()
    ys = odeint(field, y0, shared, gradient=gradient, batch="independent", **LOOSE)
    (summed,) = torch.autograd.grad(loss_of(ys), [shared])
    others = []
    for i in range(3):
        own = TIMES.clone().requires_grad_()
        alone = odeint(field, y0[i : i + 1], own, gradient=gradient, **LOOSE)
        others += torch.autograd.grad(loss_of(alone), [own])
    torch.testing.assert_close(summed, sum(others), rtol=1e-10, atol=1e-10)


class Moving(nn.Module):
    """A pair of a vector and a number, with the time for each."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(Wave().weight.detach())

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, z = state
        dy = torch.tanh(y @ self.weight + torch.sin(t)) * torch.cos(z).unsqueeze(-1)
        return dy, -(y**2).sum(-1) * torch.exp(-t.squeeze(-1)) + 0.1 * z


@pytest.mark.parametrize("gradient", WAYS)
def test_tuples(gradient) -> None:
    field, y0, z0 = Moving(), start(3, 3), start(3)
    inputs = [y0, z0, field.weight]
    scale = torch.tensor([[0.2], [1.0], [3.0]], dtype=torch.float64)
    ys, zs = odeint(field, (scale * y0, z0), TIMES, gradient=gradient, batch="independent", **LOOSE)
    ours = torch.autograd.grad(loss_of(ys) + loss_of(zs), inputs)
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        own = ((scale * y0)[i : i + 1], z0[i : i + 1])
        y, z = odeint(field, own, TIMES, gradient="symplectic", **LOOSE)
        torch.testing.assert_close(ys[:, i : i + 1], y, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(zs[:, i : i + 1], z, rtol=1e-12, atol=1e-12)
        loss = loss + loss_of(y) + loss_of(z)
    for mine, other in zip(ours, torch.autograd.grad(loss, inputs), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


class Rates(nn.Module):
    """A field with a rate of its own for every sample."""

    def __init__(self, rates: Tensor, weight: nn.Parameter) -> None:
        super().__init__()
        self.rates = rates
        self.weight = weight

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        assert len(y) == len(self.rates)
        return self.weight * torch.sin(self.rates * y + t)


@pytest.mark.parametrize("gradient", WAYS)
def test_a_field_that_holds_something_of_every_sample_is_given_all_of_them(gradient) -> None:
    rates = torch.tensor([[1.0, 2.0], [30.0, 4.0], [0.1, 3.0]], dtype=torch.float64)
    weight, y0 = nn.Parameter(torch.tensor(0.9, dtype=torch.float64)), start(3, 2)
    solution = solve(
        Rates(rates, weight), y0, TIMES, gradient=gradient, batch="independent", **LOOSE
    )
    ours = torch.autograd.grad(loss_of(solution.ys), [y0, weight])
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(3):
        alone = odeint(Rates(rates[i : i + 1], weight), y0[i : i + 1], TIMES, **LOOSE)
        torch.testing.assert_close(solution.ys[:, i : i + 1], alone, rtol=1e-12, atol=1e-12)
        loss = loss + loss_of(alone)
    for mine, other in zip(ours, torch.autograd.grad(loss, [y0, weight]), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)
    assert solution.samples is not None
    assert solution.samples.rows == 3 * solution.stats.forward
    assert solution.samples.rows > solution.samples.evaluations.sum()


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_sample_costs_what_it_costs_alone(method: str) -> None:
    field, y0 = Oscillators(), oscillators(0.5, 9.0, 2.0, 5.0)
    with torch.no_grad():
        solution = solve(field, y0, TIMES[[0, -1]], method=method, batch="independent", **LOOSE)
        alone = [
            solve(field, y0[i : i + 1], TIMES[[0, -1]], method=method, **LOOSE) for i in range(4)
        ]
    assert solution.samples is not None
    assert solution.samples.evaluations.tolist() == [one.stats.forward for one in alone]
    assert solution.samples.rows == solution.samples.evaluations.sum()


@pytest.mark.parametrize("gradient", WAYS[:4])
def test_a_step_that_leaves_the_domain_does_no_harm_to_gradients(gradient) -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return -self.rate * torch.sqrt(y - 0.1)

    y0 = torch.tensor([[1.0], [4.0], [0.35]], dtype=torch.float64, requires_grad=True)
    t = torch.tensor([0.0, 0.45], dtype=torch.float64)
    options = {"first_step": 0.45}
    _, samples = assert_as_alone(Root(), y0, t, options, gradient=gradient, rtol=1e-5, atol=1e-5)
    assert samples.rejected[1] < samples.rejected[2]


def test_other_states() -> None:
    def func(t: Tensor, y: Tensor) -> Tensor:
        return 1j * y * torch.cos(t) if y.is_complex() else torch.cos(3 * t) * y

    for y0 in (
        torch.tensor([0.1, 2.0], dtype=torch.float64),
        torch.tensor([[0.1 + 1j], [20.0 - 3j]], dtype=torch.complex128),
        torch.rand(2, 3, 4, dtype=torch.float32),
    ):
        t = TIMES if y0.dtype.itemsize > 4 else TIMES.float()
        whole = odeint(func, y0, t, batch="independent", **LOOSE)
        for i in range(2):
            alone = odeint(func, y0[i : i + 1], t, **LOOSE)
            tolerance = 1e-5 if y0.dtype == torch.float32 else 1e-12
            torch.testing.assert_close(whole[:, i : i + 1], alone, rtol=tolerance, atol=tolerance)


def test_autograd_inside_and_a_second_backward_pass() -> None:
    field, y0 = Energy(), start(3, 2)
    solution = solve(field, y0, TIMES, batch="independent", **LOOSE)
    loss = loss_of(solution.ys)
    first = torch.autograd.grad(loss, [y0, field.weight], retain_graph=True)
    for one, two in zip(first, torch.autograd.grad(loss, [y0, field.weight]), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("gradient", ["symplectic", Symplectic(store="stages"), "checkpoint"])
def test_a_field_that_has_changed_is_noticed(gradient) -> None:
    field, y0 = Wave(), start(3, 3)
    rate = [1.0]

    def func(t: Tensor, y: Tensor) -> Tensor:
        return rate[0] * field(t, y)

    ys = odeint(func, y0, TIMES, gradient=gradient, batch="independent")
    rate[0] = 2.0
    with pytest.raises(FieldChangedError):
        loss_of(ys).backward()


def test_samples_that_fail_are_named() -> None:
    y0 = torch.tensor([[1.0], [2.0], [0.1], [2.5]], dtype=torch.float64)
    t = torch.tensor([0.0, 0.9], dtype=torch.float64)
    with pytest.raises(StepSizeUnderflow, match=r"samples 1, 3 of 4: the step size fell") as caught:
        odeint(lambda t, y: y**2, y0[[0, 3, 2, 3]], t, batch="independent")
    assert caught.value.samples == (1, 3)
    assert caught.value.t == pytest.approx(0.4, abs=1e-3)
    with pytest.raises(MaxStepsExceeded, match=r"sample 1 of 3") as caught:
        odeint(
            Oscillators(), oscillators(0.1, 200.0, 0.2), TIMES, batch="independent",
            options={"max_steps": 20},
        )  # fmt: skip
    assert caught.value.steps + caught.value.rejects == 20
    with pytest.raises(NonFiniteError, match="sample 2 of 3"):
        odeint(lambda t, y: y / (y - 7), torch.tensor([[1.0], [2.0], [7.0]]), t.float(),
               batch="independent", method="rk4", options={"num_steps": 2})  # fmt: skip


def test_a_field_for_one_time_is_refused() -> None:
    class Once(nn.Module):
        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            return y * float(t)

    with pytest.raises(InputError, match=r"t of shape \(3, 1\), which this func does not take"):
        odeint(Once(), start(3, 3), TIMES, batch="independent")

    def wide(t: Tensor, y: Tensor) -> Tensor:
        return torch.cat([y, t.expand(3).unsqueeze(1)], 1)[:, 1:]

    with pytest.raises(InputError, match="which this func does not take"):
        odeint(wide, start(3, 2), TIMES, batch="independent")
    with pytest.raises(IncompatibleError, match="depends on other samples"):
        odeint(lambda t, y: y * t.mean(), start(3, 2), TIMES, batch="independent")
    with pytest.raises(ZeroDivisionError):
        odeint(lambda t, y: y / 0 * (1 // 0), start(3, 2), TIMES, batch="independent")


def test_coupled_and_random_fields_are_refused() -> None:
    noise = torch.rand(4, 2, dtype=torch.float64)
    for func in (
        lambda t, y: y - y.mean(0),
        lambda t, y: noise * y - y.sum(0),
        nn.BatchNorm1d(2, dtype=torch.float64),
    ):
        field = func if not isinstance(func, nn.Module) else lambda t, y, norm=func: norm(y)
        with pytest.raises(IncompatibleError, match="depends on other samples"):
            odeint(field, start(4, 2), TIMES, batch="independent")
    state = torch.get_rng_state()
    with pytest.raises(IncompatibleError, match="draws random numbers"):
        odeint(lambda t, y: y + 0 * torch.rand(1), start(4, 2), TIMES, batch="independent")
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gradient": "adjoint"}, "gradient method adjoint.*backprop"),
        ({"gradient": "reversible", "method": "alf"}, "gradient method reversible"),
        ({"method": "alf"}, "explicit Runge-Kutta"),
        ({"gradient": Symplectic(store="revolve", slots=3)}, "store=revolve"),
        ({"options": {"jump_t": [0.5]}}, "jump_t with batch=independent"),
        ({"options": {"norm": torch.linalg.vector_norm}}, "norm with batch=independent"),
        ({"options": {"compile": True}}, "compile=true"),
    ],
)
def test_what_does_not_go_with_it(settings, words) -> None:
    with pytest.raises(IncompatibleError, match=words):
        solve(Wave(), start(3, 3), TIMES, batch="independent", **settings)


def test_it_is_refused_inside_vmap() -> None:
    def each(y0: Tensor) -> Tensor:
        return odeint(lambda t, y: -y, y0, TIMES, batch="independent")

    with pytest.raises(IncompatibleError, match="vmap"):
        torch.func.vmap(each)(start(2, 3, 3).detach())


def test_callbacks_are_not_called_and_the_user_is_told() -> None:
    class Calls(Wave):
        def callback_step(self, t: Tensor, y: Tensor, dt: Tensor) -> None:
            raise AssertionError

    with pytest.warns(UserWarning, match="callback_step, which will not be called"):
        odeint(Calls(), start(3, 3), TIMES, batch="independent")


def test_shapes_that_cannot_be() -> None:
    with pytest.raises(InputError, match="the samples of the batch"):
        solve(Wave(), start(3)[0], TIMES, batch="independent")
    with pytest.raises(InputError, match=r"\[\(3, 3\), \(2,\)\]; the first dimension"):
        solve(Moving(), (start(3, 3), start(2)), TIMES, batch="independent")
    with pytest.raises(InputError, match="a row for each of the B=3"):
        solve(Wave(), start(3, 3), TIMES.expand(2, -1), batch="independent")
    t = torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.5], [0.0, 1.0, 2.0]])
    with pytest.raises(InputError, match=r"that of sample 1 is \[0, 1, 0.5\]"):
        solve(Wave(), start(3, 3), t, batch="independent")
    with pytest.raises(InputError, match="unknown batch='each'"):
        solve(Wave(), start(3, 3), TIMES, batch="each")
