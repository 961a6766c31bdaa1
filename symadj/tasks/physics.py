"""Learning a vector field from snapshots: the loss of the paper's second half, and its scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import huber_loss

from symadj.calls.integrator import Integrator
from symadj.data.physics.snapshots import SnapshotData, window_count, windows
from symadj.errors import InputError
from symadj.figures.physics import invariants, phase_portraits, space_time, time_series
from symadj.models.cnf import ContinuousFlow
from symadj.models.system_constants import SystemConstants
from symadj.ranges import require
from symadj.tasks.base import Task
from symadj.tasks.baselines import baseline_rollouts
from symadj.tasks.rollout import (
    RollOut,
    errors_over_time,
    model_energy_drift,
    roll_out,
    rollout_scores,
    rollout_settings,
)

DRAWN = 3


class Physics(Task):
    """From one snapshot to the next `horizon` ones.

    With y(t) the solution from y(0) = u_n, the loss of a window is the mean over j = 1, ..., k and
    over the entries of the state of

        ((u_{n+j} - u_n) / (j dt) - (y(j dt) - u_n) / (j dt))^2,

    the squared difference of the true and the predicted mean rate of change, in squared units of
    the state over time. For k = 1 it is the loss of Matsubara et al. (2020, arXiv:1905.08604). All
    k states are outputs of one solve. With `scaled` every entry's difference is divided by the root
    mean square of that entry's true rate (u_{n+1} - u_n) / dt over the training split, so that
    small entries count like large ones; the loss has no unit then. With `huber` = delta the square
    of a difference r beyond delta is replaced by 2 delta |r| - delta^2 (Huber 1964), so that a few
    windows with large errors, jumps or outliers, do not rule the loss. With `entries` the mean is
    over these entries of the state alone, as where the others are not measured or too steep.

    Args:
        horizon: k, intervals from the first to the last snapshot of a window.
        rollouts: test trajectories that are rolled out; None: all.
        rollout_max_steps: attempted steps after which an adaptive roll-out is given up.
        windows: windows of a split, evenly spread, that the loss is validated and tested on.
        scaled: whether the entries of the state are scaled.
        entries: of the state, by number from 0, that the loss counts; None: all.
        huber: delta, in units of the state over time, or with `scaled` of the scale; None: squares
            throughout.

    Attributes:
        monitor: the metric whose minimum on the validation split chooses the weights.
        errors: of the roll-outs that `evaluate` scored last, by `errors_over_time`.

    Raises:
        InputError: a number out of its range.
    """

    monitor = "loss"

    def __init__(
        self,
        horizon: int = 1,
        rollouts: int | None = None,
        rollout_max_steps: int = 10_000,
        windows: int = 500,
        scaled: bool = False,
        entries: Sequence[int] | None = None,
        huber: float | None = None,
    ) -> None:
        require(
            "task",
            horizon=horizon,
            rollouts=rollouts,
            rollout_max_steps=rollout_max_steps,
            windows=windows,
            entries=entries,
            huber=huber,
        )
        self.horizon = horizon
        self.rollouts = rollouts
        self.rollout_max_steps = rollout_max_steps
        self.windows = windows
        self.scaled = scaled
        self.entries = None if entries is None else list(entries)
        self.huber = huber
        self.scale: Tensor | None = None
        self.dt: float | None = None
        self.errors: pd.DataFrame | None = None

    def bind(self, data: Any, model: nn.Module, integrator: Integrator) -> None:
        """Takes the snapshots' distance in time from the data, before any training.

        Raises:
            InputError: data, model or solver are none that this objective can use.
        """
        if not isinstance(data, SnapshotData):
            raise InputError(
                f"task=physics learns from trajectories, and data={getattr(data, 'name', data)} "
                "has none. Take data=kdv, another physical system, or data=trajectories with your "
                "own file."
            )
        if data.horizon != self.horizon:
            raise InputError(
                f"task.horizon={self.horizon} and data.horizon={data.horizon} differ; leave "
                "data.horizon alone and set task.horizon."
            )
        if isinstance(model, ContinuousFlow):
            raise InputError(
                "task=physics needs a vector field, and the model is a normalizing flow. Take "
                "model=energy_conv or model=node_conv for a field on a grid, model=hnn or "
                "model=node_mlp for other states."
            )
        if self.entries is not None and not (
            self.entries and len({*self.entries} & {*range(data.dim)}) == len(self.entries)
        ):
            raise InputError(
                f"task.entries={self.entries}; data={data.name} has the entries 0 to "
                f"{data.dim - 1}: give some of them, each once, or null for all."
            )
        rollout_settings(integrator.solver, self.horizon, self.horizon, self.rollout_max_steps)
        self.dt = data.dt
        if self.scaled:
            rates = data.train.diff(dim=1).flatten(0, 1) / data.dt
            scale = rates.square().mean(0).sqrt()
            if still := [i for i, one in enumerate(scale.tolist()) if one == 0]:
                raise InputError(
                    f"task.scaled=true, and entry {still[0]} of the states of data={data.name} "
                    "never changes, so that it has no scale; leave it out of the data, or take "
                    "task.scaled=false."
                )
            self.scale = scale

    def loss(self, model: nn.Module, batch: Tensor, integrator: Integrator) -> Tensor:
        """The loss of windows [B, horizon + 1, dim], a scalar.

        Raises:
            InputError: `bind` was not called.
        """
        if self.dt is None:
            raise InputError("the time between snapshots is not known; call task.bind first.")
        steps = torch.arange(batch.shape[1], dtype=torch.float64, device=batch.device)
        times = self.dt * steps
        ys = integrator.solve(model, batch[:, 0], times).ys
        errors = ys[1:] - batch[:, 1:].transpose(0, 1)
        rates = errors / times[1:].to(errors.dtype).reshape(-1, 1, 1)
        if self.scale is not None:
            rates = rates / self.scale.to(rates)
        if self.entries is not None:
            rates = rates[..., self.entries]
        if self.huber is not None:
            return 2 * huber_loss(rates, torch.zeros_like(rates), delta=self.huber)
        return rates.square().mean()

    def evaluate(
        self,
        model: nn.Module,
        x: Tensor,
        data: SnapshotData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """Scores on trajectories, without gradients: those of windows alone.

        Args:
            model: the field.
            x: trajectories [n, T, dim], on the model's device.
            data: the data set, for what is known of the system.
            integrator: solver of training.
            batch_size: windows, states or trajectories per evaluation.

        Returns:
            "loss"; where the true system is known "derivative_mse", the mean of
            (model(u) - du/dt)^2 over states and entries, in squared units of the state over time,
            at the starts of the windows; of a model that learns the system's constants
            "NAME_ratio", each of them over its true value.
        """
        starts = self._spread(x)[:, 0]
        return self._scores(model, x, starts, data, integrator, batch_size)

    def test(
        self,
        model: nn.Module,
        x: Tensor,
        data: SnapshotData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """As `evaluate`, the derivative at every snapshot, and roll-outs beside the baselines.

        Returns:
            Those of `evaluate`, of `rollout_scores` with `baseline_rollouts`, and of
            `model_energy_drift`.
        """
        scores = self._scores(model, x, x.flatten(0, 1), data, integrator, batch_size)
        x = x[: self.rollouts]
        longer = self._for_rollouts(x, integrator)
        rolled = roll_out(model, x, data.dt, longer, batch_size)
        baselines = baseline_rollouts(x, data, longer, batch_size)
        self.errors = errors_over_time(rolled, data, baselines)
        scores |= rollout_scores(self.errors, rolled, baselines)
        drift = model_energy_drift(model, rolled, data, batch_size)
        return scores if drift is None else scores | {"model_energy_drift": drift}

    def _scores(
        self,
        model: nn.Module,
        x: Tensor,
        states: Tensor,
        data: SnapshotData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        with torch.no_grad():
            loss = self._mean_loss(model, self._spread(x), integrator, batch_size)
            if not data.known:
                return {"loss": loss}
            scores = {"loss": loss}
            scores["derivative_mse"] = _derivative_mse(model, states, data, batch_size)
        if isinstance(model, SystemConstants):
            scores |= {f"{name}_ratio": ratio for name, ratio in model.ratios().items()}
        return scores

    def tables(self) -> dict[str, pd.DataFrame]:
        """Tables by file stem: "rollout", the errors over time of the last test."""
        return {} if self.errors is None else {"rollout": self.errors}

    def figures(
        self,
        model: nn.Module,
        data: SnapshotData,
        integrator: Integrator,
        generator: torch.Generator,
    ) -> dict[str, Figure]:
        """Pictures of roll-outs of the first test trajectories, by file stem.

        A field on a grid: "space_time" and "invariants" (energy and mass). Other states:
        "phase_portrait" (or "time_series" of one entry) and "invariants" (energy, momenta).
        """
        like = next(model.parameters())
        count = 1 if data.dx is not None else DRAWN
        x = data.test[:count].to(like)
        rolled = roll_out(model, x, data.dt, self._for_rollouts(x, integrator), count)
        return draw(rolled, data)

    def _spread(self, x: Tensor) -> Tensor:
        """At most `windows` windows of x, evenly spread over it."""
        count = window_count(x, self.horizon)
        chosen = torch.linspace(
            0, count - 1, min(count, self.windows), dtype=torch.float64, device=x.device
        )
        return windows(x, self.horizon, chosen.round().long())

    def _mean_loss(
        self, model: nn.Module, batch: Tensor, integrator: Integrator, batch_size: int
    ) -> float:
        total = 0.0
        for part in batch.split(batch_size):
            total += float(self.loss(model, part, integrator)) * len(part)
        return total / len(batch)

    def _for_rollouts(self, x: Tensor, integrator: Integrator) -> Integrator:
        """The solver of training for the whole time span of trajectories."""
        intervals = x.shape[1] - 1
        settings = rollout_settings(
            integrator.solver, self.horizon, intervals, self.rollout_max_steps
        )
        return Integrator(settings, integrator.gradient)


def draw(rolled: RollOut, data: SnapshotData) -> dict[str, Figure]:
    """The pictures of `Physics.figures` of given roll-outs."""
    truth, predicted = rolled.truth, rolled.predicted
    t = (rolled.dt * torch.arange(truth.shape[1], dtype=torch.float64)).numpy()
    figures = {}
    if data.dx is not None:
        x = (data.dx * torch.arange(data.dim, dtype=torch.float64)).numpy()
        figures["space_time"] = space_time(
            t, x, truth[0].numpy(), predicted[0].numpy(), data.units, title=data.name
        )
    elif data.portrait:
        figures["phase_portrait"] = phase_portraits(
            truth.numpy(), predicted.numpy(), data.portrait, data.columns, data.units, data.name
        )
    else:
        figures["time_series"] = time_series(t, truth.numpy(), predicted.numpy(), data.name)
    ours = data.system.invariants(predicted)
    kept = {
        name: (true.numpy(), ours[name].numpy())
        for name, true in data.system.invariants(truth).items()
    }
    if kept:
        figures["invariants"] = invariants(t, kept, data.units, data.name)
    return figures


def _derivative_mse(model: nn.Module, states: Tensor, data: SnapshotData, batch_size: int) -> float:
    total = 0.0
    time = states.new_zeros(())
    for part in states.split(batch_size):
        # The difference quotients of the true system lose digits that float32 has not.
        error = model(time, part).double() - data.system.derivative(part.double())
        total += float(error.square().sum())
    return total / states.numel()
