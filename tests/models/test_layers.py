"""Layers: the published formulas, and tangents that are the derivatives of the values."""

from __future__ import annotations

import pytest
import torch

from symadj.models.layers import ACTIVATIONS, LAYERS, Blend, Concat, ConcatSquash, Hyper, Squash

DOUBLE = torch.float64


def test_concatsquash_is_ffjords_formula() -> None:
    layer = ConcatSquash(3, 4).to(DOUBLE)
    x, t = torch.randn(5, 3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)
    gate = torch.sigmoid(layer.gate_slope * t + layer.gate_bias)
    expected = (x @ layer.weight.T + layer.bias) * gate + layer.drift * t
    torch.testing.assert_close(layer(t, x), expected, rtol=0, atol=1e-14)


def test_concat_treats_the_time_as_one_more_input() -> None:
    layer = Concat(3, 4).to(DOUBLE)
    x, t = torch.randn(5, 3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)
    with_time = torch.cat([x, t.expand(5, 1)], dim=1)
    weight = torch.cat([layer.weight, layer.drift[:, None]], dim=1)
    torch.testing.assert_close(layer(t, x), with_time @ weight.T + layer.bias)


def test_squash_is_the_gate_alone() -> None:
    layer = Squash(3, 4).to(DOUBLE)
    x, t = torch.randn(5, 3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)
    gate = torch.sigmoid(layer.gate_slope * t + layer.gate_bias)
    expected = (x @ layer.weight.T + layer.bias) * gate
    torch.testing.assert_close(layer(t, x), expected, rtol=0, atol=1e-14)


def test_blend_goes_from_one_layer_to_the_other_along_a_line() -> None:
    layer = Blend(3, 4).to(DOUBLE)
    x = torch.randn(5, 3, dtype=DOUBLE)
    first, last = x @ layer.weight.T + layer.bias, x @ layer.end_weight.T + layer.end_bias
    for time in (0.0, 0.3, 1.0, 1.5):
        y = layer(torch.tensor(time, dtype=DOUBLE), x)
        torch.testing.assert_close(y, (1 - time) * first + time * last, rtol=0, atol=1e-14)


def test_hyper_has_weights_from_a_net_of_the_time() -> None:
    layer = Hyper(3, 4).to(DOUBLE)
    x, t = torch.randn(5, 3, dtype=DOUBLE), torch.tensor(0.7, dtype=DOUBLE)
    inner, outer = torch.nn.Linear(1, 8).double(), torch.nn.Linear(8, 16).double()
    with torch.no_grad():
        inner.weight.copy_(layer.hidden_slope[:, None])
        inner.bias.copy_(layer.hidden_bias)
        outer.weight.copy_(layer.spread.reshape(16, 8))
        outer.bias.copy_(torch.cat([layer.weight, layer.bias[:, None]], dim=1).reshape(16))
    weights = outer(torch.tanh(inner(t.reshape(1)))).reshape(4, 4)
    expected = x @ weights[:, :3].T + weights[:, 3]
    torch.testing.assert_close(layer(t, x), expected, rtol=0, atol=1e-14)


def test_ffjords_name_of_the_plain_layer_is_known() -> None:
    assert LAYERS["ignore"] is LAYERS["plain"]


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_moves_with_time_as_it_says(name: str) -> None:
    layer = LAYERS[name](2, 2).to(DOUBLE)
    x = torch.randn(3, 2, dtype=DOUBLE)
    early, late = (layer(torch.tensor(t, dtype=DOUBLE), x) for t in (0.1, 0.9))
    assert torch.equal(early, late) == (name in ("plain", "ignore"))


@pytest.mark.parametrize("lead", [(), (4,)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layers_tangent_is_its_jacobian_times_dx(name: str, lead: tuple[int, ...]) -> None:
    layer = LAYERS[name](3, 2).to(DOUBLE)
    t, x = torch.tensor(0.4, dtype=DOUBLE), torch.randn(5, 3, dtype=DOUBLE)
    dx = torch.randn(*lead, 5, 3, dtype=DOUBLE)
    y, dy = layer.tangent(t, x, dx)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: layer(t, row)))(x)
    torch.testing.assert_close(y, layer(t, x))
    torch.testing.assert_close(dy, torch.einsum("bij,...bj->...bi", jacobian, dx))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activations_tangent_is_its_derivative_times_da(name: str) -> None:
    activation = ACTIVATIONS[name]
    # Beyond 20 softplus and its derivative are cut off together.
    a = torch.linspace(-30, 30, 61, dtype=DOUBLE, requires_grad=True)
    da = torch.randn(3, 61, dtype=DOUBLE)
    y, dy = activation.tangent(a, da)
    (slope,) = torch.autograd.grad(activation.value(a).sum(), a)
    torch.testing.assert_close(y, activation.value(a), rtol=0, atol=0)
    torch.testing.assert_close(dy, slope * da, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("lead", [(), (2,)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_tangents_own_gradient_is_right(name: str, lead: tuple[int, ...]) -> None:
    a = torch.randn(4, dtype=DOUBLE, requires_grad=True)
    da = torch.randn(*lead, 4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(ACTIVATIONS[name].tangent, (a, da))
