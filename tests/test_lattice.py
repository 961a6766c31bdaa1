from __future__ import annotations

import math

import pytest
import torch

from symadj.lattice import STRUCTURES, central_difference, second_difference, squared_slope

DX = 0.3


def matrix(operator) -> torch.Tensor:
    return operator(torch.eye(7, dtype=torch.float64), DX).T


def test_the_entries_are_those_of_the_difference_quotients() -> None:
    u = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    assert torch.allclose(central_difference(u, DX) * 2 * DX, u.new_tensor([-6.0, 3, 6, -3]))
    assert torch.allclose(second_difference(u, DX) * DX**2, u.new_tensor([8.0, 1, 2, -11]))


def test_skew_and_dissipative_are_what_they_say() -> None:
    skew, dissipative = matrix(STRUCTURES["skew"]), matrix(STRUCTURES["dissipative"])
    assert torch.equal(skew, -skew.T)
    assert torch.equal(dissipative, dissipative.T)
    assert torch.linalg.eigvalsh(dissipative).max() < 1e-12


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_sum_is_kept(name: str) -> None:
    u = torch.randn(3, 9, dtype=torch.float64)
    assert STRUCTURES[name](u, DX).sum(-1).abs().max() < 1e-12


def test_the_gradient_of_the_squared_slope_is_minus_twice_the_second_difference() -> None:
    u = torch.randn(9, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(squared_slope(u, DX).sum(), u)
    assert torch.allclose(gradient, -2 * second_difference(u, DX).detach(), atol=1e-12)


@pytest.mark.parametrize(
    ("operator", "factor"), [(central_difference, 1j), (second_difference, -1)]
)
def test_order_two(operator, factor: complex) -> None:
    errors = []
    for points in (32, 64):
        dx = 2 * math.pi / points
        x = dx * torch.arange(points, dtype=torch.float64)
        true = torch.cos(x) if factor == 1j else -torch.sin(x)
        errors.append(float((operator(torch.sin(x), dx) - true).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
