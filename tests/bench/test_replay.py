"""Solves repeated: on recorded steps, and with the same random numbers in another dtype."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from symadj.bench.replay import DrawnAs, RecordingIntegrator, ReplayIntegrator
from symadj.calls.integrator import Integrator
from symadj.errors import SymadjError
from symadj.ode.settings import SolverSettings

TIMES = torch.tensor([0.0, 2.0], dtype=torch.float64)
LOOSE = SolverSettings("dopri5", rtol=1e-2, atol=1e-2)


class Spiral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(1.7))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return torch.sin(self.rate * y.flip(-1)) * (1 + t)


def two_solves(field: nn.Module, integrator: Integrator) -> Tensor:
    y = torch.tensor([0.3, 1.1], dtype=next(field.parameters()).dtype)
    for _ in range(2):
        y = integrator.solve(field, y, TIMES).ys[-1]
    return y


def test_a_replay_takes_the_steps_of_the_recording_whatever_its_tolerance() -> None:
    field = Spiral()
    recording = RecordingIntegrator(LOOSE)
    expected = two_solves(field, recording)
    assert len(recording.grids) == 2
    assert recording.grids[0] != recording.grids[1]
    tight = SolverSettings("dopri5", rtol=1e-6, atol=1e-6)
    again = two_solves(field, ReplayIntegrator(tight, "backprop", recording.grids))
    assert torch.equal(again, expected)


def test_a_replay_counts_its_solves() -> None:
    field = Spiral()
    recording = RecordingIntegrator(LOOSE)
    two_solves(field, recording)
    replay = ReplayIntegrator(LOOSE, "backprop", recording.grids[:1])
    with pytest.raises(SymadjError, match="one more"):
        two_solves(field, replay)


def test_restarting_forgets_steps_and_counts() -> None:
    field = Spiral()
    recording = RecordingIntegrator(LOOSE)
    two_solves(field, recording)
    recording.restart()
    assert recording.grids == []
    assert recording.take_stats().forward == 0


def test_the_adjoint_method_keeps_choosing_its_own_backward_steps() -> None:
    field = Spiral().double()
    recording = RecordingIntegrator(LOOSE, "adjoint")
    two_solves(field, recording).sum().backward()
    own = field.rate.grad
    field.rate.grad = None
    two_solves(field, ReplayIntegrator(LOOSE, "adjoint", recording.grids)).sum().backward()
    assert own is not None
    assert field.rate.grad is not None
    assert torch.allclose(field.rate.grad, own, rtol=1e-12)


def test_numbers_are_drawn_in_the_given_dtype_and_cast() -> None:
    torch.manual_seed(3)
    expected = [
        torch.randn(50),
        torch.rand(40),
        torch.randn(30),
        torch.empty(20).normal_(1.0, 2.0),
    ]
    integers = torch.randint(9, (6,))
    torch.manual_seed(3)
    like = torch.zeros(30, dtype=torch.float64)
    with DrawnAs(torch.float32):
        drawn = [
            torch.randn(50, dtype=torch.float64),
            torch.rand(40, dtype=torch.float64),
            torch.randn_like(like),
            torch.empty(20, dtype=torch.float64).normal_(1.0, 2.0),
        ]
        same_integers = torch.randint(9, (6,))
    for given, wanted in zip(drawn, expected, strict=True):
        assert given.dtype == torch.float64
        assert torch.equal(given, wanted.double())
    assert torch.equal(integers, same_integers)


def test_without_it_another_dtype_draws_other_numbers() -> None:
    torch.manual_seed(3)
    single = torch.randn(50)
    torch.manual_seed(3)
    assert not torch.allclose(torch.randn(50, dtype=torch.float64), single.double())
