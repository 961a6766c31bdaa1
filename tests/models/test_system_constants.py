"""A known system with unknown constants: what it computes, and that it learns them."""

from __future__ import annotations

import pytest
import torch

from symadj.data.physics.lorenz63 import Lorenz63System
from symadj.data.physics.robertson import RobertsonSystem
from symadj.data.physics.system import System
from symadj.data.physics.van_der_pol import VanDerPolSystem
from symadj.errors import InputError
from symadj.models.system_constants import SystemConstants

T = torch.zeros(())


@pytest.mark.parametrize("system", [Lorenz63System(), RobertsonSystem(), VanDerPolSystem()])
def test_without_a_fault_it_is_the_system(system: System) -> None:
    u = torch.rand(5, {"mu": 2}.get(system.constants[0], 3), dtype=torch.float64)
    model = SystemConstants(system, wrong_by=1.0)
    torch.testing.assert_close(model(T, u), system.derivative(u), rtol=1e-12, atol=1e-12)
    assert set(model.ratios()) == set(system.constants)
    assert list(model.ratios().values()) == pytest.approx([1.0] * len(system.constants))


def test_constants_start_too_large_and_too_small_in_turn() -> None:
    model = SystemConstants(RobertsonSystem(), wrong_by=3.0)
    found = {name: float(value.detach()) for name, value in model.constants.items()}
    assert found == pytest.approx({"k1": 0.12, "k2": 1e7, "k3": 3e4})
    assert model.ratios() == pytest.approx({"k1": 3.0, "k2": 1 / 3, "k3": 3.0})


def test_the_gradient_is_that_of_the_logarithms() -> None:
    model = SystemConstants(VanDerPolSystem(mu=4.0), wrong_by=1.0)
    u = torch.tensor([[0.5, 3.0]], dtype=torch.float64)
    model(T, u)[0, 1].backward()
    # d/dlog(mu) of mu (1 - x^2) v.
    assert model.theta.grad is not None
    assert model.theta.grad.tolist() == pytest.approx([4.0 * 0.75 * 3.0])


def test_a_system_without_constants_is_refused() -> None:
    for system in (None, System()):
        with pytest.raises(InputError, match="data=robertson"):
            SystemConstants(system)
    with pytest.raises(InputError, match="wrong_by=0"):
        SystemConstants(VanDerPolSystem(), wrong_by=0.0)
