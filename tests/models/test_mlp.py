"""The flow's network: its size, its tangent, and what its constructor refuses."""

from __future__ import annotations

import pytest
import torch

from symadj.errors import InputError
from symadj.models.layers import ACTIVATIONS, LAYERS
from symadj.models.mlp import MLP


@pytest.mark.parametrize(
    ("dim", "hidden", "components", "published"),
    [
        (6, (60,) * 3, 5, 43_325),
        (8, (160,) * 3, 5, 278_565),
        (21, (210,) * 2, 10, 546_850),
        (43, (860,) * 2, 1, 820_613),
        (63, (1260,) * 3, 2, 6_698_666),
    ],
)
def test_the_network_has_the_published_number_of_parameters(
    dim: int, hidden: tuple[int, ...], components: int, published: int
) -> None:
    ours = components * sum(p.numel() for p in MLP(dim, hidden).parameters())
    # FFJORD's count includes one end time per component.
    assert ours + components == published


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_tangent_is_the_derivative_along_dx(activation: str, layer: str) -> None:
    network = MLP(3, (8, 8), activation, layer).double()
    t = torch.tensor(0.3, dtype=torch.float64)
    x, dx = torch.randn(2, 5, 3, dtype=torch.float64)
    f, df = network.tangent(t, x, dx)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda row: network(t, row)))(x)
    torch.testing.assert_close(f, network(t, x), rtol=0, atol=1e-12)
    torch.testing.assert_close(df, torch.einsum("bij,bj->bi", jacobian, dx), rtol=0, atol=1e-12)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_gradient_through_the_tangent_equals_autograds(activation: str, layer: str) -> None:
    network = MLP(3, (8, 8), activation, layer).double()
    t = torch.tensor(0.3, dtype=torch.float64)
    x = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    dx = torch.randn(5, 3, dtype=torch.float64)
    (pulled,) = torch.autograd.grad((network(t, x) * dx).sum(), x, create_graph=True)
    _, df = network.tangent(t, x, dx)
    wanted = [x, *network.parameters()]
    gradients = [
        torch.autograd.grad(
            (form * dx).sum(-1).sin().sum(), wanted, allow_unused=True, materialize_grads=True
        )
        for form in (pulled, df)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-12)


def test_tangents_shared_by_all_points_equal_one_set_for_each_point() -> None:
    network = MLP(3, (8,)).double()
    t, x = torch.tensor(0.3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    shared = torch.randn(4, 1, 3, dtype=torch.float64)
    _, df = network.tangent(t, x, shared)
    _, expected = network.tangent(t, x, shared.expand(4, 5, 3))
    torch.testing.assert_close(df, expected)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"activation": "tahn"}, "Did you mean 'tanh'"),
        ({"layer": "concatsqash"}, "Did you mean 'concatsquash'"),
        ({"hidden": (8, 0)}, r"hidden=\[8, 0\].* from 1 to"),
    ],
)
def test_bad_settings_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        MLP(2, **arguments)
