"""odeint_event and event_fn beside torchdiffeq's own; needs it (pip install 'symadj[peers]')."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import symadj.torchdiffeq as ours
from symadj import InputError, NoEventError
from tests.torchdiffeq.fields import Swing, start

theirs = pytest.importorskip("torchdiffeq")

F64 = torch.float64
TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}
Parts = tuple[Tensor, ...]


class Line(nn.Module):
    """One entry or several: a . y + t - levels."""

    def __init__(self, *levels: float) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor([0.3, -0.5, 0.2], dtype=F64))
        self.levels = nn.Parameter(torch.tensor(levels, dtype=F64))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return (y @ self.a).mean() + t - self.levels


def found(
    module: Any, *, levels: tuple[float, ...] = (1.2,), interface: str = "odeint", **named: Any
) -> tuple[Tensor, Tensor, Parts]:
    """The time, the states, and the gradients of a function of both."""
    field, event_fn, y0 = Swing(), Line(*levels), start()
    t0 = torch.tensor([0.1], dtype=F64, requires_grad=True)
    event_t, ys = module.odeint_event(
        field, y0, t0, event_fn=event_fn, odeint_interface=getattr(module, interface),
        **{**TIGHT, **named},
    )  # fmt: skip
    loss = 2 * event_t.sum() + torch.sin(ys[-1]).sum()
    if module is ours:
        # Of the event function's parameters torchdiffeq has no gradient.
        (of_levels,) = torch.autograd.grad(loss, event_fn.levels, retain_graph=True)
        assert int((of_levels != 0).sum()) == 1
    gradients = torch.autograd.grad(loss, [y0, field.weight])
    return event_t.detach(), ys.detach(), gradients


@pytest.mark.parametrize("interface", ["odeint", "odeint_adjoint"])
@pytest.mark.parametrize(
    "named",
    [
        {},
        # Between steps its values are of a higher order here.
        {"method": "dopri8", "options": {"max_step": 0.05}},
        {"levels": (2.0, 0.9, 1.4)},
        {"reverse_time": True, "levels": (-0.6,)},
        {"method": "rk4", "options": {"step_size": 0.01, "interp": "cubic"}},
    ],
    ids=["dopri5", "dopri8", "several", "reverse", "rk4"],
)
def test_time_states_and_gradients_are_torchdiffeqs(named: dict[str, Any], interface: str) -> None:
    event_t, ys, gradients = found(ours, interface=interface, **named)
    expected_t, expected, reference = found(theirs, interface=interface, **named)
    assert event_t.shape == expected_t.shape
    assert event_t.dtype == expected_t.dtype
    assert float((event_t - expected_t).abs().max()) < 1e-8
    assert ys.shape == expected.shape
    assert float((ys - expected).abs().max()) < 1e-8
    for mine, other in zip(gradients, reference, strict=True):
        assert float((mine - other).norm()) < 1e-6 * float(other.norm())


def test_states_of_several_parts_with_the_interface_partially_applied() -> None:
    def pair(t: Tensor, y: Parts) -> Parts:
        return y[1], -y[0]

    y0 = (torch.zeros(2, 3, dtype=F64), torch.ones(2, 3, dtype=F64))
    results = []
    for module in (ours, theirs):
        interface = functools.partial(module.odeint_adjoint, adjoint_params=())
        results.append(
            module.odeint_event(
                pair, y0, torch.tensor(0.0, dtype=F64), event_fn=lambda t, y: y[0].sum() - 3,
                odeint_interface=interface, **TIGHT,
            )
        )  # fmt: skip
    (event_t, ys), (expected_t, expected) = results
    assert abs(float(event_t - expected_t)) < 1e-9
    assert [y.shape for y in ys] == [y.shape for y in expected]
    assert all(float((a - b).abs().max()) < 1e-9 for a, b in zip(ys, expected, strict=True))


def test_odeint_with_an_event_function_goes_on_past_the_second_time() -> None:
    t = torch.tensor([0.0, 0.01])
    event_fn: Callable[..., Tensor] = lambda t, y: y[0] - 0.5  # noqa: E731
    for module in (ours, theirs):
        event_t, ys = module.odeint(
            lambda t, y: -y, torch.ones(1, dtype=F64), t, event_fn=event_fn, **TIGHT
        )
        assert event_t.dtype == torch.float32
        assert abs(float(event_t) - 0.693147) < 1e-6
        assert abs(float(ys[1, 0]) - 0.5) < 1e-9


def test_the_exact_gradient_is_one_argument_away() -> None:
    field, y0 = Swing(), start()
    arguments: dict[str, Any] = {"event_fn": Line(1.2), "rtol": 1e-2, "atol": 1e-2}
    t0 = torch.tensor(0.1, dtype=F64)
    gradients = []
    for gradient in ("symplectic", "backprop"):
        event_t, ys = ours.odeint_event(field, y0, t0, gradient=gradient, **arguments)
        loss = event_t.sum() + torch.sin(ys).sum()
        gradients.append(torch.autograd.grad(loss, [y0, field.weight]))
    for mine, other in zip(*gradients, strict=True):
        assert float((mine - other).norm() / other.norm()) < 1e-11


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ours.odeint_event(Swing(), start(), 0.0, event_fn=Line(1.0)), ["t0=0.0"]),  # type: ignore[arg-type]
        (
            lambda: ours.odeint(
                Swing(), start(), torch.linspace(0, 1, 3), event_fn=Line(1.0)
            ),
            ["two entries"],
        ),
        (
            lambda: ours.odeint_event(
                Swing(), start(), torch.zeros(1), event_fn=Line(1.0), method="rk4"
            ),
            ["step_size alone"],
        ),
        (
            lambda: ours.odeint_event(Swing(), start(), torch.zeros(1), event_fn=lambda t, y: 1),
            ["returned a int"],
        ),
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_used(make: Callable[[], Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"options": {"max_num_steps": 5}}, "max_steps=5"),
        ({"method": "euler", "options": {"step_size": 0.1}}, "max_steps=50"),
    ],
)
def test_a_search_without_success(
    named: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("symadj.torchdiffeq.calls.MOST_FIXED_STEPS", 50)
    with pytest.raises(NoEventError, match=words):
        ours.odeint_event(
            lambda t, y: -y, torch.ones(1), torch.zeros(1), event_fn=lambda t, y: y[0] + 1, **named
        )
