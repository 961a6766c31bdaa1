"""Convolutions: the published formulas, and tangents that are the derivatives of the values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from symadj.models.conv_layers import CONV_LAYERS, ConcatConv, ConcatSquashConv

DOUBLE = torch.float64
T = torch.tensor(0.7, dtype=DOUBLE)


def images(*lead: int, channels: int = 3) -> Tensor:
    return torch.randn(*lead, channels, 4, 5, dtype=DOUBLE)


def test_concat_treats_the_time_as_one_more_channel() -> None:
    layer, x = ConcatConv(3, 2).to(DOUBLE), images(6)
    with_time = torch.cat([T.expand(6, 1, 4, 5), x], dim=1)
    weight = torch.cat([layer.drift, layer.weight], dim=1)
    expected = F.conv2d(with_time, weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(T, x), expected, rtol=0, atol=1e-13)


def test_concatsquash_is_ffjords_formula() -> None:
    layer, x = ConcatSquashConv(3, 2).to(DOUBLE), images(6)
    gate = torch.sigmoid(layer.gate_slope * T + layer.gate_bias)[:, None, None]
    drift = (layer.drift * T)[:, None, None]
    expected = F.conv2d(x, layer.weight, layer.bias, padding=1) * gate + drift
    torch.testing.assert_close(layer(T, x), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CONV_LAYERS)
def test_a_layer_moves_with_time_as_it_says(name: str) -> None:
    layer, x = CONV_LAYERS[name](3, 2).to(DOUBLE), images(6)
    early, late = (layer(torch.tensor(t, dtype=DOUBLE), x) for t in (0.1, 0.9))
    assert torch.equal(early, late) == (name == "plain")


@pytest.mark.parametrize("lead", [(6,), (4, 6), (4, 1)])
@pytest.mark.parametrize("name", CONV_LAYERS)
def test_a_layers_tangent_is_its_jacobian_times_dx(name: str, lead: tuple[int, ...]) -> None:
    layer, x, dx = CONV_LAYERS[name](3, 2).to(DOUBLE), images(6), images(*lead)
    y, dy = layer.tangent(T, x, dx)
    jacobian = torch.func.jacrev(lambda image: layer(T, image[None])[0])(x[0])
    expected = torch.einsum("abcijk,...ijk->...abc", jacobian, dx)
    torch.testing.assert_close(y, layer(T, x), rtol=0, atol=0)
    torch.testing.assert_close(dy, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", CONV_LAYERS)
def test_every_parameter_has_the_right_gradient(name: str) -> None:
    layer = CONV_LAYERS[name](2, 2).to(DOUBLE)
    t = torch.tensor(0.3, dtype=DOUBLE, requires_grad=name != "plain")
    x = torch.randn(2, 2, 3, 3, dtype=DOUBLE, requires_grad=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def value(t: Tensor, x: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        given = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(layer, given, (t, x))

    assert torch.autograd.gradcheck(value, (t, x, *parameters))
