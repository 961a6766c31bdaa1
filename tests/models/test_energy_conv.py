from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj import solve
from symadj.errors import InputError
from symadj.models.energy_conv import EnergyConv, EnergyField, GridEnergy
from symadj.models.node_conv import NodeConv
from tests.grad.test_contract import assert_equal
from tests.grad.variants import GENERAL
from tests.models.test_energy import Hidden, shaken

T0 = torch.zeros((), dtype=torch.float64)
STRUCTURES = pytest.mark.parametrize("structure", ["skew", "dissipative"])


def field(structure: str = "skew", hidden: tuple[int, ...] = (6, 5)) -> EnergyConv:
    model = shaken(EnergyConv(0.5, structure, hidden))
    assert isinstance(model, EnergyConv)
    return model


def state(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def convolved(net: nn.Sequential, u: Tensor) -> Tensor:
    """The published stack of convolutions on the same weights, [B, points]."""
    first, second, last = (m for m in net if isinstance(m, nn.Linear))
    padded = torch.cat([u[:, -1:], u, u[:, :1]], dim=-1).unsqueeze(1)
    y = torch.tanh(F.conv1d(padded, first.weight.unsqueeze(1), first.bias))
    y = torch.tanh(F.conv1d(y, second.weight.unsqueeze(-1), second.bias))
    return F.conv1d(y, last.weight.unsqueeze(-1), last.bias).squeeze(1)


def test_the_published_numbers_of_parameters() -> None:
    count = {
        m: sum(p.numel() for p in m.parameters()) for m in (EnergyConv(0.2, "skew"), NodeConv())
    }
    assert list(count.values()) == [41_200, 41_201]


def test_the_energy_is_the_sum_over_the_published_convolutions() -> None:
    model, u = field(), state(3, 8)
    assert isinstance(model.energy, GridEnergy)
    expected = convolved(model.energy.local.net, u).sum(-1)
    assert torch.allclose(model.energy(u), expected, rtol=1e-13)


def test_the_plain_field_is_the_published_convolutions() -> None:
    model, u = shaken(NodeConv((6, 5))), state(3, 8)
    assert isinstance(model, NodeConv)
    assert torch.allclose(model(T0, u), convolved(model.net, u), rtol=1e-13)


@STRUCTURES
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_the_explicit_gradient_is_that_of_autograd(structure: str, kernel: int) -> None:
    energy = shaken(GridEnergy((6, 5), kernel))
    ours, theirs = (EnergyField(e, 0.5, structure) for e in (energy, Hidden(energy)))
    u = state(4, 9).requires_grad_()
    w = state(4, 9).flip(0)
    assert (ours(T0, u) - theirs(T0, u)).abs().max() < 1e-12
    inputs = [u, *energy.parameters()]
    pulled, expected = (torch.autograd.grad((f(T0, u) * w).sum(), inputs) for f in (ours, theirs))
    for mine, other in zip(pulled, expected, strict=True):
        assert (mine - other).abs().max() < 1e-12 * other.abs().max().clamp_min(1)


def test_a_skew_structure_keeps_the_energy_and_a_dissipative_one_loses_it() -> None:
    u = state(4, 9).requires_grad_()
    rates = {}
    for structure in ("skew", "dissipative"):
        model = field(structure)
        (gradient,) = torch.autograd.grad(model.energy(u).sum(), u)
        rates[structure] = (gradient * model(T0, u)).sum(-1)
    assert rates["skew"].abs().max() < 1e-13
    assert (rates["dissipative"] < -1e-3).all()


@STRUCTURES
def test_the_sum_of_the_state_is_kept(structure: str) -> None:
    assert field(structure)(T0, state(4, 9)).sum(-1).abs().max() < 1e-13


@pytest.mark.parametrize("model", [field(), shaken(NodeConv((6, 5)))], ids=["energy", "node"])
def test_the_grid_has_no_first_point(model: nn.Module) -> None:
    u = state(4, 9)
    assert torch.allclose(model(T0, u.roll(3, -1)), model(T0, u).roll(3, -1), rtol=1e-12)


@pytest.mark.parametrize("plain", [False, True], ids=["explicit", "autograd"])
@pytest.mark.parametrize("gradient", [n for n, m in GENERAL.items() if m.exact])
def test_every_exact_method_equals_backprop_on_the_frozen_grid(gradient: str, plain: bool) -> None:
    model = field()
    func = EnergyField(Hidden(model.energy), 0.5, "skew") if plain else model
    t = torch.tensor([0.0, 0.1, 0.4], dtype=torch.float64)
    u = state(3, 8).requires_grad_()

    def gradients(field: nn.Module, gradient: str, options: dict | None = None):
        found = solve(
            field, u, t, method="dop853", rtol=1e-2, atol=1e-2, gradient=gradient, options=options
        )
        loss = torch.sin(found.ys[1:]).sum()
        return torch.autograd.grad(loss, [u, *model.parameters()]), found.steps.grid

    ours, grid = gradients(func, gradient)
    reference, _ = gradients(model, "backprop", {"grid": grid})
    assert_equal(ours, reference)


def test_the_adjoint_method_comes_close() -> None:
    model, u = field(), state(3, 8)
    t = torch.tensor([0.0, 0.4], dtype=torch.float64)
    ours, reference = (
        torch.autograd.grad(
            torch.sin(solve(model, u, t, rtol=1e-9, atol=1e-9, gradient=g).ys[-1]).sum(),
            list(model.parameters()),
        )
        for g in ("adjoint", "backprop")
    )
    assert_equal(ours, reference, 1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"structure": "skew"}, "distance of its points"),
        ({"dx": 0.2}, "model.structure=skew"),
        ({"dx": 0.2, "structure": "skw"}, "Did you mean 'skew'"),
        ({"dx": 0.0, "structure": "skew"}, r"dx=0\.0"),
        ({"dx": 0.2, "structure": "skew", "kernel": 2}, "kernel=2; it must be an odd"),
        ({"dx": 0.2, "structure": "skew", "hidden": ()}, "at least one hidden layer"),
    ],
)
def test_what_cannot_be_used_is_named(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EnergyConv(**given)
