from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from symadj import Integrator, SolverSettings
from symadj.config.compose import compose
from symadj.data.physics.kdv import KdV
from symadj.data.physics.snapshots import SnapshotData, windows
from symadj.errors import InputError
from symadj.models.energy_conv import EnergyConv
from symadj.records.record import RunRecord
from symadj.run.train import train
from symadj.tasks.physics import Physics
from tests.tasks.test_rollout import TIGHT, Spring, spring_data


def bound(data: SnapshotData, model: nn.Module, horizon: int = 1, **settings: Any) -> Physics:
    task = Physics(horizon, **settings)
    task.bind(data, model, TIGHT)
    return task


class Constant(nn.Module):
    """du/dt = c."""

    def __init__(self, c: float) -> None:
        super().__init__()
        self.c = nn.Parameter(torch.tensor(c, dtype=torch.float64))

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        return self.c.expand_as(u)


def test_the_loss_of_one_interval_is_the_published_one() -> None:
    data, model = spring_data(dt=0.25), Constant(0.3)
    batch = windows(data.train, 1, torch.arange(15))
    rate = (batch[:, 1] - batch[:, 0]) / 0.25
    expected = (rate - 0.3).square().mean()
    loss = bound(data, model).loss(model, batch, TIGHT)
    assert loss.item() == pytest.approx(expected.item())


def test_the_loss_of_several_intervals_has_every_output_in_it() -> None:
    data, model = spring_data(dt=0.25), Constant(0.3)
    data.horizon = 3
    batch = windows(data.train, 3, torch.arange(9))
    task = bound(data, model, 3)
    rates = [(batch[:, j] - batch[:, 0]) / (j * 0.25) - 0.3 for j in (1, 2, 3)]
    expected = torch.stack(rates).square().mean()
    assert task.loss(model, batch, TIGHT).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("gradient", ["backprop", "checkpoint", "aca", "symplectic", "adjoint"])
def test_the_gradient_of_the_loss_under_every_method(gradient: str) -> None:
    data, model = spring_data(), Constant(0.3)
    data.horizon = 2
    batch = windows(data.train, 2, torch.arange(12))
    task = bound(data, model, 2)
    loss = task.loss(model, batch, Integrator(SolverSettings("dop853"), gradient))
    (ours,) = torch.autograd.grad(loss, [model.c])
    rates = [(batch[:, j] - batch[:, 0]) / (j * 0.1) - 0.3 for j in (1, 2)]
    assert float(ours) == pytest.approx(-2 * float(torch.stack(rates).mean()))


def test_the_true_system_scores_nothing() -> None:
    data = spring_data()
    task = bound(data, Spring())
    scores = task.test(Spring(), data.test, data, TIGHT, batch_size=4)
    assert set(scores) == {
        "loss",
        "derivative_mse",
        "state_mse",
        "energy_mse",
        "state_mse_persistence",
        "state_mse_linear",
        "rollout_failed_linear",
        "state_mse_true_field",
        "rollout_failed_true_field",
        "rollout_snapshots",
        "rollout_failed",
    }
    exact = ("loss", "derivative_mse", "state_mse", "energy_mse", "state_mse_true_field")
    assert max(scores[k] for k in exact) < 1e-15
    assert scores["state_mse_linear"] < 1e-12, "the springs are linear"
    assert task.tables()["rollout"]["t"].tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_the_derivative_is_scored_against_the_true_one(batch_size: int) -> None:
    data, model = spring_data(), Spring(1.5)
    task = bound(data, model)
    scores = task.test(model, data.test, data, TIGHT, batch_size=batch_size)
    expected = (0.5 * data.system.derivative(data.test)).square().mean()
    assert scores["derivative_mse"] == pytest.approx(float(expected))
    batch = windows(data.test, 1, torch.arange(15))
    assert scores["loss"] == pytest.approx(task.loss(model, batch, TIGHT).item())


def test_a_validation_is_of_evenly_spread_windows_and_rolls_nothing_out() -> None:
    data, model = spring_data(), Constant(0.0)
    task = bound(data, model, windows=3)
    scores = task.evaluate(model, data.val, data, TIGHT, batch_size=2)
    batch = windows(data.val, 1, torch.tensor([0, 7, 14]))
    assert scores["loss"] == pytest.approx(task.loss(model, batch, TIGHT).item())
    expected = data.system.derivative(batch[:, 0]).square().mean()
    assert scores == {
        "loss": scores["loss"],
        "derivative_mse": pytest.approx(float(expected)),
    }
    assert task.tables() == {}


def test_only_so_many_roll_outs(tmp_path: Path) -> None:
    data, model = spring_data(), Spring(0.0)
    task = bound(data, model, rollouts=1)
    scores = task.test(model, data.test, data, TIGHT, batch_size=9)
    still = (data.test[0, 1:] - data.test[0, :1]).square().mean()
    assert scores["state_mse"] == pytest.approx(float(still))


def test_an_energy_network_on_kdv_keeps_the_mass(tmp_path: Path) -> None:
    data = KdV(trajectories=2, steps=4, data_dir=tmp_path)
    model = EnergyConv(data.dx, data.structure, (5, 4)).double()
    task = bound(data, model)
    scores = task.test(model, data.test, data, TIGHT, batch_size=9)
    assert scores["mass_mse"] < 1e-24
    assert scores["energy_mse"] > 1e-9
    figures = task.figures(model, data, TIGHT, torch.Generator())
    assert set(figures) == {"space_time", "invariants"}


def test_figures_of_orbits_and_of_a_single_entry() -> None:
    data, model = spring_data(), Spring()
    assert set(bound(data, model).figures(model, data, TIGHT, torch.Generator())) == {
        "phase_portrait",
        "invariants",
    }
    u = data.test[..., :1]
    single = SnapshotData("one", (u, u, u), 0.1)
    constant = Constant(0.1)
    figures = bound(single, constant).figures(constant, single, TIGHT, torch.Generator())
    assert set(figures) == {"time_series"}


@pytest.mark.parametrize("name", ["horizon", "rollouts", "rollout_max_steps", "windows"])
def test_numbers_below_one(name: str) -> None:
    settings: dict[str, Any] = {name: 0}
    with pytest.raises(InputError, match=rf"^{name}=0; .* whole number from 1 to"):
        Physics(**settings)


def test_a_bound_of_large_errors_below_zero() -> None:
    with pytest.raises(InputError, match=r"^huber=-1; .* must be a number above 0"):
        Physics(huber=-1)


def test_a_scaled_loss_counts_every_entry_alike() -> None:
    data = spring_data()
    model = Constant(0.1)
    plain, scaled = bound(data, model), bound(data, model, scaled=True)
    batch = data.sample_batch(8, torch.Generator().manual_seed(0))
    rates = (data.train[:, 1:] - data.train[:, :-1]).flatten(0, 1) / data.dt
    errors = ((batch[:, 1] - batch[:, 0]) / data.dt - 0.1) / rates.square().mean(0).sqrt()
    torch.testing.assert_close(scaled.loss(model, batch, TIGHT), errors.square().mean())
    # Which the loss without scales is not.
    assert not torch.isclose(plain.loss(model, batch, TIGHT), errors.square().mean())


def test_large_errors_count_linearly() -> None:
    data, model = spring_data(), Constant(0.1)
    batch = data.sample_batch(8, torch.Generator().manual_seed(0))
    errors = ((batch[:, 1] - batch[:, 0]) / data.dt - 0.1).abs()
    delta = float(errors.median())
    expected = torch.where(errors > delta, 2 * delta * errors - delta**2, errors.square())
    loss = bound(data, model, huber=delta).loss(model, batch, TIGHT)
    torch.testing.assert_close(loss, expected.mean())


def test_a_loss_of_some_entries() -> None:
    data, model = spring_data(), Constant(0.1)
    batch = data.sample_batch(8, torch.Generator().manual_seed(0))
    errors = (batch[:, 1, 1] - batch[:, 0, 1]) / data.dt - 0.1
    loss = bound(data, model, entries=[1]).loss(model, batch, TIGHT)
    torch.testing.assert_close(loss, errors.square().mean())


@pytest.mark.parametrize("entries", [[], [2], [0, 0]])
def test_entries_that_the_state_does_not_have(entries: list[int]) -> None:
    with pytest.raises(InputError, match=r"task\.entries=.* has the entries 0 to 1: give some"):
        bound(spring_data(), Constant(0.1), entries=entries)


def test_an_entry_that_never_changes_has_no_scale() -> None:
    u = spring_data().train
    still = torch.cat([u, torch.ones_like(u[..., :1])], -1)
    data = SnapshotData("still", (still, still, still), 0.1)
    with pytest.raises(InputError, match=r"task\.scaled=true, and entry 2 "):
        bound(data, Constant(0.1), scaled=True)


def test_a_loss_before_its_time_step_is_known() -> None:
    with pytest.raises(InputError, match=r"call task\.bind first"):
        Physics().loss(Spring(), torch.zeros(2, 2, 2), TIGHT)


def run(tmp_path: Path, *overrides: str) -> tuple[RunRecord, Path]:
    small = ("task=physics", "train.steps=3", "train.eval_every=2", "train.batch_size=8")
    place = (f"out={tmp_path}", "name=run", "measure=none", "dtype=float64")
    given = [*small, *place, *overrides]
    return train(compose("train", given), given), tmp_path / "run"


def test_a_run_from_the_command_line_to_its_files(tmp_path: Path) -> None:
    record, directory = run(
        tmp_path, "data=mass_spring", "data.samples=4", "model=hnn", "model.hidden=[8]",
        "task.horizon=2", "task.windows=20",
    )  # fmt: skip
    assert record.status == "ok"
    assert record.metrics["test/rollout_snapshots"] == 99
    assert {"train/loss", "val/loss", "test/loss", "test/energy_mse"} <= set(record.metrics)
    assert record.metrics["test/model_energy_drift"] < 1e-2
    assert len(pd.read_csv(directory / "rollout.csv")) == 100
    drawn = {path.name for path in (directory / "plots").iterdir()}
    assert {"phase_portrait.png", "invariants.png"} <= drawn


def test_two_bodies_as_they_come_keep_the_energy_that_was_learnt(tmp_path: Path) -> None:
    given = ("data=two_body", "data.samples=4", "model.hidden=[8]", "task.windows=20")
    where = (f"out={tmp_path}", "name=run", "train.steps=3", "train.eval_every=2", "measure=none")
    tight = ("dtype=float64", "solver.rtol=1e-9", "solver.atol=1e-9")
    overrides = [*given, *where, *tight]
    record = train(compose("train", overrides), overrides)
    assert record.status == "ok"
    assert record.metrics["test/model_energy_drift"] < 1e-6
    for name in ("energy", "momentum", "angular_momentum"):
        assert record.metrics[f"test/{name}_mse"] > 1e-8, "three iterations teach no law"


def test_a_run_whose_roll_out_diverges_ends_with_a_record(tmp_path: Path) -> None:
    """An MLP trained on growing data, given too few steps for its roll-out."""
    t = np.linspace(0, 2, 21)
    u = np.exp(3 * t)[None, :, None] * np.linspace(1, 2, 5)[:, None, None]
    np.savez(tmp_path / "grow.npz", t=t, u=u)
    record, directory = run(
        tmp_path, "data=trajectories", f"data.path={tmp_path / 'grow.npz'}", "model=node_mlp",
        "model.hidden=[8]", "task.rollout_max_steps=1",
    )  # fmt: skip
    assert record.status == "ok"
    assert record.metrics["test/rollout_failed"] == 1
    assert record.metrics["test/rollout_snapshots"] < 20
    json.loads((directory / "record.json").read_text(), parse_constant=pytest.fail)
    loaded = RunRecord.load(directory / "record.json").metrics
    assert loaded == pytest.approx(record.metrics, nan_ok=True)
