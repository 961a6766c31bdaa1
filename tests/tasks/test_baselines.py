from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from symadj import Integrator, SolverSettings
from symadj.data.physics.cahn_hilliard import CahnHilliard
from symadj.data.physics.kdv import KdV
from symadj.data.physics.snapshots import SnapshotData
from symadj.tasks import baselines
from symadj.tasks.baselines import baseline_rollouts, linear_map, linear_states
from symadj.tasks.rollout import errors_over_time, rollout_scores
from tests.tasks.test_rollout import TIGHT, spring_data


def random_walks(n: int, snapshots: int, dim: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(n, snapshots, dim))).cumsum(1)


def test_the_linear_map_is_that_of_least_squares() -> None:
    u = random_walks(4, 30, 3)
    matrix, shift = linear_map(u)
    before, steps = u[:, :-1].reshape(-1, 3).numpy(), u.diff(dim=1).reshape(-1, 3).numpy()
    inputs = np.concatenate([before, np.ones((len(before), 1))], axis=1)
    expected, *_ = np.linalg.lstsq(inputs, steps, rcond=None)
    assert np.allclose(matrix, expected[:-1], atol=1e-9)
    assert np.allclose(shift, expected[-1], atol=1e-9)


def test_an_affine_system_is_predicted_from_its_first_state_alone() -> None:
    turn = torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
    u = [torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]], dtype=torch.float64)]
    for _ in range(20):
        u.append(u[-1] @ turn + 0.1)
    whole = torch.stack(u, dim=1)
    assert torch.allclose(linear_states(whole[:2, :6], whole), whole, atol=1e-8)


def test_states_of_a_subspace_leave_the_linear_map_finite() -> None:
    u = random_walks(3, 20, 1).expand(3, 20, 4)
    predicted = linear_states(u, u)
    assert predicted.isfinite().all()
    assert torch.allclose(predicted[..., 0], predicted[..., 3])


def test_the_baselines_errors_are_those_of_a_direct_computation(tmp_path: Path) -> None:
    data = KdV(trajectories=3, steps=20, data_dir=tmp_path)
    settings = SolverSettings("dop853", rtol=1e-8, atol=1e-10)
    rolled = baseline_rollouts(data.test, data, Integrator(settings), batch_size=5)
    assert list(rolled) == ["persistence", "linear", "true_field"]
    errors = errors_over_time(rolled["true_field"], data, rolled)
    scores = rollout_scores(errors, rolled["true_field"], rolled)
    x = data.test
    still = (x[:, 1:] - x[:, :1]).square().mean()
    assert scores["state_mse_persistence"] == pytest.approx(float(still))
    linear = (linear_states(data.train, x) - x)[:, 1:].square().mean()
    assert scores["state_mse_linear"] == pytest.approx(float(linear))
    # The data are of a method of order 2, the true field's solution is as good as its tolerance.
    assert scores["state_mse_true_field"] == scores["state_mse"] < 1e-4 * float(still)
    energy = data.system.invariants(x)["energy"]
    assert errors["energy_mse_persistence"].to_numpy() == pytest.approx(
        (energy - energy[:, :1]).square().mean(0).numpy(), abs=1e-20
    )
    failed = {name: value for name, value in scores.items() if "failed" in name}
    assert failed == dict.fromkeys(failed, 0.0)
    assert "rollout_failed_persistence" not in failed


def test_a_solver_that_cannot_follow_a_stiff_system_fails_as_an_outcome(tmp_path: Path) -> None:
    data = CahnHilliard(trajectories=2, steps=30, data_dir=tmp_path)
    settings = SolverSettings("euler", num_steps=30)
    rolled = baseline_rollouts(data.test, data, Integrator(settings), batch_size=5)
    scores = rollout_scores(errors_over_time(rolled["true_field"], data, rolled), rolled["linear"],
                            rolled)  # fmt: skip
    assert scores["rollout_failed_true_field"] == len(data.test)
    assert scores["rollout_failed_linear"] == 0


def test_no_linear_model_of_large_states_and_no_true_field_of_unknown_systems(monkeypatch) -> None:
    monkeypatch.setattr(baselines, "LINEAR_UP_TO", 1)
    data = spring_data()
    assert list(baseline_rollouts(data.test, data, TIGHT, 5)) == ["persistence", "true_field"]
    unknown = SnapshotData("unknown", (data.train, data.val, data.test), 0.1)
    assert list(baseline_rollouts(data.test, unknown, TIGHT, 5)) == ["persistence"]


def test_a_single_precision_run_has_baselines_in_double(tmp_path: Path) -> None:
    data = KdV(trajectories=2, steps=5, data_dir=tmp_path)
    for rolled in baseline_rollouts(data.test.float(), data, TIGHT, 5).values():
        assert rolled.predicted.dtype == torch.float64
