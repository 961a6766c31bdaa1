from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from symadj import Integrator, SolverSettings
from symadj.data.physics.oscillators import MassSpringSystem
from symadj.data.physics.snapshots import SnapshotData
from symadj.errors import IncompatibleError
from symadj.tasks.rollout import (
    RollOut,
    errors_over_time,
    model_energy_drift,
    roll_out,
    rollout_scores,
    rollout_settings,
)

TIGHT = Integrator(SolverSettings(rtol=1e-10, atol=1e-10))


class Blowup(nn.Module):
    """du/dt = u^2: u(t) = u0 / (1 - u0 t) ends at t = 1 / u0."""

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        return u.square()


class Spring(nn.Module):
    """The true mass-spring system, turned by a wrong frequency."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        return self.factor * MassSpringSystem().derivative(u)


def spring_data(n: int = 3, snapshots: int = 6, dt: float = 0.1) -> SnapshotData:
    t = dt * torch.arange(snapshots, dtype=torch.float64)
    radius = torch.arange(1, n + 1, dtype=torch.float64).unsqueeze(-1)
    u = torch.stack([radius * torch.cos(2 * t), -radius * torch.sin(2 * t)], dim=-1)
    return SnapshotData("springs", (u, u, u), dt, system=MassSpringSystem())


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_true_system_predicts_the_truth(batch_size: int) -> None:
    data = spring_data()
    rolled = roll_out(Spring(), data.test, data.dt, TIGHT, batch_size)
    assert rolled.reached.tolist() == [6, 6, 6]
    assert (rolled.predicted - data.test).abs().max() < 1e-8
    errors = errors_over_time(rolled, data)
    assert list(errors) == ["t", "reached", "state_mse", "energy_mse"]
    scores = rollout_scores(errors, rolled)
    assert scores["state_mse"] < 1e-16
    assert (scores["rollout_snapshots"], scores["rollout_failed"]) == (5, 0)


def test_errors_are_means_over_trajectories_without_the_first_snapshot() -> None:
    data = spring_data(2, 3)
    predicted = data.test.clone()
    predicted[0, 1] += 1.0
    predicted[1, 2] *= 2.0
    rolled = RollOut(data.dt, data.test, predicted, torch.tensor([3, 3]))
    errors = errors_over_time(rolled, data)
    last = float(data.test[1, 2].square().mean())
    assert errors["t"].tolist() == pytest.approx([0, 0.1, 0.2])
    assert errors["state_mse"].tolist() == pytest.approx([0, 0.5, last / 2])
    # Radius 2: the energy 4 becomes 16.
    assert errors["energy_mse"][2] == pytest.approx((16 - 4) ** 2 / 2)
    scores = rollout_scores(errors, rolled)
    assert scores["state_mse"] == pytest.approx((0.5 + last / 2) / 2)


def test_a_failing_trajectory_is_kept_up_to_its_end_and_costs_the_others_nothing() -> None:
    starts = torch.tensor([[0.1], [1.0], [0.2], [4.0]], dtype=torch.float64)
    truth = starts.unsqueeze(1).expand(4, 16, 1).clone()
    settings = SolverSettings(rtol=1e-8, atol=1e-8, max_steps=300)
    rolled = roll_out(Blowup(), truth, 0.1, Integrator(settings), batch_size=10)
    t = 0.1 * torch.arange(16, dtype=torch.float64)
    for i, u0 in enumerate(starts[:, 0]):
        reached = int(rolled.reached[i])
        assert reached == (16 if u0 < 0.5 else int((t < 1 / u0 - 1e-9).sum()))
        expected = u0 / (1 - u0 * t[:reached])
        assert torch.allclose(rolled.predicted[i, :reached, 0], expected, rtol=1e-5)
        assert rolled.predicted[i, reached:].isnan().all()


def test_a_failed_roll_out_counts_as_a_state_that_stays_from_where_it_ended() -> None:
    truth = torch.tensor([[0.0, 0, 0, 0], [0.0, 0, 2, 1]]).double().unsqueeze(-1)
    predicted = torch.tensor([[0.0, 1, 1, 1], [0.0, 2, math.nan, math.nan]]).double().unsqueeze(-1)
    data = SnapshotData("zeros", (truth, truth, truth), 0.1)
    rolled = RollOut(0.1, truth, predicted, torch.tensor([4, 2]))
    errors = errors_over_time(rolled, data)
    assert errors["reached"].tolist() == [1, 1, 0.5, 0.5]
    assert errors["state_mse"].tolist() == [0, (1 + 4) / 2, (1 + 4) / 2, (1 + 1) / 2]
    scores = rollout_scores(errors, rolled)
    assert scores == {"state_mse": 2.0, "rollout_snapshots": 1.0, "rollout_failed": 1.0}


def test_a_roll_out_that_fails_at_once_has_no_score_and_is_no_crash() -> None:
    class Nowhere(nn.Module):
        def forward(self, t: Tensor, u: Tensor) -> Tensor:
            return u * math.nan

    data = spring_data(2)
    for settings in (SolverSettings(), SolverSettings("rk4", num_steps=5)):
        rolled = roll_out(Nowhere(), data.test, data.dt, Integrator(settings), 10)
        assert rolled.reached.tolist() == [1, 1]
        scores = rollout_scores(errors_over_time(rolled, data), rolled)
        still = (data.test[:, 1:] - data.test[:, :1]).square().mean()
        assert scores["state_mse"] == pytest.approx(float(still)), "no better than persistence"
        assert math.isnan(scores["energy_mse"])
        assert (scores["rollout_snapshots"], scores["rollout_failed"]) == (0, 2)


def test_fixed_steps_grow_with_the_time_span() -> None:
    settings = SolverSettings("rk4", num_steps=3)
    assert rollout_settings(settings, 2, 7, 10).num_steps == 11
    assert rollout_settings(settings, 1, 50_000, 10).max_steps >= 150_000
    per_length = SolverSettings("rk4", step_size=0.1)
    assert rollout_settings(per_length, 1, 7, 10) == per_length


def test_an_adaptive_roll_out_is_bounded() -> None:
    assert rollout_settings(SolverSettings(), 1, 7, 10).max_steps == 10
    assert rollout_settings(SolverSettings(max_steps=5), 1, 7, 10).max_steps == 5


def test_an_explicit_grid_is_refused() -> None:
    with pytest.raises(IncompatibleError, match="grid"):
        rollout_settings(SolverSettings(grid=(0.0, 0.1)), 1, 7, 10)


class Kinetic(nn.Module):
    """A model whose energy is half the square of the first entry."""

    def __init__(self, structure: str | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
        if structure is not None:
            self.structure = structure

    def energy(self, u: Tensor) -> Tensor:
        return self.weight * u[..., 0].square() / 2


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_models_own_energy_is_followed_from_each_start(batch_size: int) -> None:
    data = spring_data(2, 3)
    predicted = torch.tensor(
        [[[1.0, 9], [2, 0], [1, 4]], [[3.0, 0], [1, 0], [math.nan, math.nan]]],
        dtype=torch.float64,
    )
    rolled = RollOut(data.dt, data.test, predicted, torch.tensor([3, 2]))
    assert model_energy_drift(Kinetic(), rolled, data, batch_size) == pytest.approx(4.0)
    u = predicted[:1]
    on_grid = SnapshotData("grid", (u, u, u), 0.1, dx=0.5)
    assert model_energy_drift(Kinetic("skew"), rolled, on_grid, batch_size) == pytest.approx(2.0)


def test_a_model_that_keeps_no_energy_has_no_drift() -> None:
    data = spring_data()
    rolled = roll_out(Spring(), data.test, data.dt, TIGHT, 10)
    assert model_energy_drift(Spring(), rolled, data, 10) is None
    assert model_energy_drift(Kinetic("dissipative"), rolled, data, 10) is None
