from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj.errors import InputError
from symadj.models.energy import EnergyMLP, energy_gradient, orthogonal_mlp


class Hidden(nn.Module):
    """An energy without a gradient of its own."""

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x)


def shaken(module: nn.Module) -> nn.Module:
    """In float64, with every parameter away from its start, biases too."""
    module = module.double()
    for p in module.parameters():
        nn.init.normal_(p, std=0.4)
    return module


@pytest.mark.parametrize("hidden", [(5,), (7, 5), (4, 6, 5)])
def test_the_explicit_gradient_is_that_of_autograd(hidden: tuple[int, ...]) -> None:
    energy = shaken(EnergyMLP(3, hidden))
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    explicit, plain = energy_gradient(energy, x), energy_gradient(Hidden(energy), x)
    assert (explicit - plain).abs().max() < 1e-12 * plain.abs().max()


def test_so_are_its_derivatives() -> None:
    energy = shaken(EnergyMLP(3, (7, 5)))
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(4, 3, dtype=torch.float64)
    inputs = [x, *energy.parameters()]
    ours, theirs = (
        torch.autograd.grad((energy_gradient(e, x) * w).sum(), inputs)
        for e in (energy, Hidden(energy))
    )
    for mine, other in zip(ours, theirs, strict=True):
        assert (mine - other).abs().max() < 1e-12 * other.abs().max().clamp_min(1)


def test_no_second_level_of_autograd_is_needed() -> None:
    energy = shaken(EnergyMLP(3, (4,)))
    with torch.no_grad():
        assert not energy_gradient(energy, torch.randn(2, 3, dtype=torch.float64)).requires_grad


def test_the_autograd_path_leaves_no_graph_where_none_is_wanted() -> None:
    energy = Hidden(shaken(EnergyMLP(3, (4,))))
    x = torch.randn(2, 3, dtype=torch.float64)
    with torch.no_grad():
        assert not energy_gradient(energy, x).requires_grad
    assert energy_gradient(energy, x).requires_grad
    assert not x.requires_grad


def test_an_energy_that_ignores_the_state_has_no_gradient() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.ones(3, requires_grad=True) * 2

    assert (energy_gradient(Constant(), torch.randn(2, 3)) == 0).all()


def test_weights_are_orthogonal_and_biases_zero() -> None:
    net = orthogonal_mlp(3, (8, 8), 2, last_bias=True)
    first, second, last = (m for m in net if isinstance(m, nn.Linear))
    assert torch.allclose(first.weight.T @ first.weight, torch.eye(3), atol=1e-6)
    assert torch.allclose(second.weight @ second.weight.T, torch.eye(8), atol=1e-6)
    assert torch.allclose(last.weight @ last.weight.T, torch.eye(2), atol=1e-6)
    assert all((m.bias == 0).all() for m in (first, second, last))
    *_, without = (m for m in EnergyMLP(3, (8,)).net if isinstance(m, nn.Linear))
    assert without.bias is None


@pytest.mark.parametrize("hidden", [(), (0,), (4, -1)])
def test_widths_out_of_range(hidden: tuple[int, ...]) -> None:
    with pytest.raises(
        InputError, match=r"at least one hidden layer|every entry a whole number from 1 to"
    ):
        EnergyMLP(3, hidden)
