"""The convolutional network: its tangent, its divergence, and what it refuses."""

from __future__ import annotations

import pytest
import torch

from symadj.errors import InputError
from symadj.models import divergence
from symadj.models.conv_layers import CONV_LAYERS
from symadj.models.conv_net import ConvNet

DOUBLE = torch.float64
T = torch.tensor(0.4, dtype=DOUBLE)


def jacobians(net: ConvNet, x: torch.Tensor) -> torch.Tensor:
    """df/dx of every image, [B, d, d]."""
    rows = [torch.func.jacrev(lambda z: net(T, z[None])[0])(image) for image in x]
    return torch.stack(rows).reshape(len(x), x[0].numel(), -1)


@pytest.mark.parametrize("activation", ["softplus", "tanh"])
@pytest.mark.parametrize("layer", CONV_LAYERS)
def test_the_tangent_is_the_jacobian_times_dx(layer: str, activation: str) -> None:
    net = ConvNet(2, (4, 3), activation, layer).to(DOUBLE)
    x, dx = torch.randn(2, 5, 2, 4, 3, dtype=DOUBLE)
    f, df = net.tangent(T, x, dx)
    expected = torch.einsum("bij,bj->bi", jacobians(net, x), dx.flatten(1))
    torch.testing.assert_close(f, net(T, x), rtol=0, atol=1e-14)
    torch.testing.assert_close(df.flatten(1), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("together", [1, 7 * 5 * 24, 1 << 20])
@pytest.mark.parametrize("hidden", [(), (4, 3)])
def test_the_exact_trace_is_the_jacobians_in_whatever_turns(
    together: int, hidden: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(divergence, "TOGETHER", together)
    net, x = ConvNet(2, hidden).to(DOUBLE), torch.randn(5, 2, 4, 3, dtype=DOUBLE)
    expected = jacobians(net, x).diagonal(dim1=-2, dim2=-1).sum(-1)
    f, trace = divergence.exact(net, T, x)
    torch.testing.assert_close(f, net(T, x), rtol=0, atol=1e-14)
    torch.testing.assert_close(trace, expected, rtol=0, atol=1e-13)


def test_directions_in_turns_bound_the_tangents(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = ConvNet(2, (4,)), torch.randn(5, 2, 4, 3)
    sizes = []
    tangent = net.tangent

    def spied(t: torch.Tensor, x: torch.Tensor, dx: torch.Tensor) -> tuple:
        sizes.append(len(dx))
        return tangent(t, x, dx)

    monkeypatch.setattr(net, "tangent", spied)
    monkeypatch.setattr(divergence, "TOGETHER", 7 * x.numel() + 1)
    divergence.exact(net, T.float(), x)
    assert sizes == [7, 7, 7, 3]


def test_the_estimate_is_the_quadratic_form_of_the_jacobian() -> None:
    net = ConvNet(2, (4,)).to(DOUBLE)
    x, noise = torch.randn(2, 5, 2, 4, 3, dtype=DOUBLE)
    e = noise.flatten(1)
    expected = torch.einsum("bi,bij,bj->b", e, jacobians(net, x), e)
    _, estimate = divergence.hutchinson(net, T, x, noise)
    torch.testing.assert_close(estimate, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"hidden": (4, 0)}, r"hidden=\[4, 0\]"),
        ({"layer": "concatsquish"}, "Did you mean 'concatsquash'"),
        ({"activation": "tang"}, "Did you mean 'tanh'"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        ConvNet(**{"channels": 1, **arguments})
