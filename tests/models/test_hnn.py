from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj import solve
from symadj.errors import InputError
from symadj.models.hnn import HNN, HamiltonianField
from symadj.models.node_mlp import NodeMLP
from tests.models.test_energy import Hidden, shaken

T0 = torch.zeros((), dtype=torch.float64)


def test_the_field_of_a_known_energy() -> None:
    class Spring(nn.Module):
        def forward(self, u: Tensor) -> Tensor:
            q1, q2, p1, p2 = u.unbind(-1)
            return q1**2 + 2 * q2**2 + 3 * p1**2 + 4 * p2**2

    u = torch.tensor([[1.0, 2, 3, 4]], dtype=torch.float64)
    assert HamiltonianField(Spring())(T0, u).tolist() == [[18.0, 32.0, -2.0, -8.0]]


def test_the_explicit_gradient_is_that_of_autograd() -> None:
    model = shaken(HNN(4, (6, 5)))
    assert isinstance(model, HNN)
    u = torch.randn(5, 4, dtype=torch.float64)
    plain = HamiltonianField(Hidden(model.energy))(T0, u)
    assert (model(T0, u) - plain).abs().max() < 1e-13


def test_the_energy_is_kept_along_a_solution() -> None:
    model = shaken(HNN(2, (6, 5)))
    assert isinstance(model, HNN)
    t = torch.linspace(0, 20, 5, dtype=torch.float64)
    u = torch.randn(3, 2, dtype=torch.float64)
    with torch.no_grad():
        ys = solve(model, u, t, rtol=1e-10, atol=1e-10).ys
        energy = model.energy(ys)
    assert (ys[-1] - ys[0]).abs().max() > 0.1
    assert (energy - energy[0]).abs().max() < 1e-8


def test_the_published_widths() -> None:
    assert sum(p.numel() for p in HNN(2).parameters()) == 600 + 40_200 + 200
    assert sum(p.numel() for p in NodeMLP(3).parameters()) == 800 + 40_200 + 603
    assert NodeMLP(3, (4,))(T0, torch.randn(5, 3)).shape == (5, 3)


@pytest.mark.parametrize("dim", [1, 3, 0])
def test_a_state_without_momenta_is_refused(dim: int) -> None:
    with pytest.raises(InputError, match=r"even number of entries.*node_mlp"):
        HNN(dim)
