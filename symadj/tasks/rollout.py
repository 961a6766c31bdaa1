"""Roll-outs of a trained vector field from the starts of true trajectories, and their scores."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.physics.snapshots import SnapshotData
from symadj.errors import IncompatibleError, SolveError
from symadj.ode.settings import SolverSettings
from symadj.ode.user_function import Func

PERSISTENCE = "persistence"
"""The baseline that cannot fail: every state stays as it starts."""


@dataclass(frozen=True)
class RollOut:
    """Predictions from the first snapshot alone, beside the truth; float64, on the CPU.

    Attributes:
        dt: time from one snapshot to the next.
        truth: [n, T, dim].
        predicted: [n, T, dim], NaN from where a roll-out could not go on.
        reached: how many snapshots of each are predicted, the given first one included, [n].
    """

    dt: float
    truth: Tensor
    predicted: Tensor
    reached: Tensor

    @staticmethod
    def of(dt: float, truth: Tensor, states: Tensor) -> RollOut:
        """From states [n, T, dim] that end where they are no longer finite."""
        predicted = states.double().cpu().clone()
        going_on = predicted.isfinite().all(-1).long().cumprod(-1)
        predicted[~going_on.bool()] = math.nan
        return RollOut(dt, truth.double().cpu(), predicted, going_on.sum(-1))

    @property
    def alive(self) -> Tensor:
        """Whether a trajectory is predicted at a snapshot, [n, T]."""
        return torch.arange(self.truth.shape[1]) < self.reached.unsqueeze(-1)

    @property
    def failed(self) -> int:
        """How many roll-outs did not get to the last snapshot."""
        return int((self.reached < self.truth.shape[1]).sum())


def roll_out(
    model: Func, truth: Tensor, dt: float, integrator: Integrator, batch_size: int
) -> RollOut:
    """Integrates from the first snapshot of every trajectory to all later ones.

    A solve that fails (a state that is not finite, too many steps, ...) is an outcome: its batch is
    halved until the failing trajectories stand alone, and those are kept up to where they came.

    Args:
        model: the field, called as model(t, u).
        truth: trajectories [n, T, dim].
        dt: time between snapshots.
        integrator: solver, for the whole time span (see `rollout_settings`).
        batch_size: trajectories per solve.
    """
    times = dt * torch.arange(truth.shape[1], dtype=torch.float64, device=truth.device)
    with torch.no_grad():
        parts = [_states(model, u, times, integrator) for u in truth[:, 0].split(batch_size)]
    return RollOut.of(dt, truth, torch.cat(parts))


def _states(model: Func, starts: Tensor, times: Tensor, integrator: Integrator) -> Tensor:
    """[n, T, dim], NaN where a solve failed."""
    try:
        return integrator.solve(model, starts, times).ys.transpose(0, 1)
    except SolveError as error:
        if len(starts) == 1:
            return _states_up_to(error, model, starts, times, integrator)
        halves = starts.tensor_split(2)
        return torch.cat([_states(model, half, times, integrator) for half in halves])


def _states_up_to(
    error: SolveError, model: Func, start: Tensor, times: Tensor, integrator: Integrator
) -> Tensor:
    """The states of one trajectory up to the time at which its solve failed, then NaN."""
    out = start.new_full((1, len(times), start.shape[-1]), math.nan)
    out[:, 0] = start
    count = int((times <= error.t).sum())
    while count > 1:
        try:
            # The same steps again, except that the last one ends at the last output.
            ys = integrator.solve(model, start, times[:count]).ys
        except SolveError as again:
            count = min(count - 1, int((times <= again.t).sum()))
            continue
        out[:, :count] = ys.transpose(0, 1)
        break
    return out


def rollout_settings(
    settings: SolverSettings, horizon: int, intervals: int, max_steps: int
) -> SolverSettings:
    """The settings of training windows as they are for a roll-out over many intervals.

    A number of fixed steps is one per window of `horizon` intervals and grows with the time span;
    an adaptive solve is given up after `max_steps` attempts.

    Raises:
        IncompatibleError: an explicit grid, which fits one time span only.
    """
    if settings.grid is not None:
        raise IncompatibleError(
            "solver.grid fits the training windows only, not a roll-out; give solver.num_steps "
            "(per window) or solver.step_size."
        )
    if settings.num_steps is not None:
        steps = math.ceil(settings.num_steps * intervals / horizon)
        return dataclasses.replace(
            settings, num_steps=steps, max_steps=max(settings.max_steps, steps)
        )
    if settings.adaptive:
        return dataclasses.replace(settings, max_steps=min(settings.max_steps, max_steps))
    return settings


def errors_over_time(
    rolled: RollOut, data: SnapshotData, baselines: Mapping[str, RollOut] | None = None
) -> pd.DataFrame:
    """Mean squared errors at every snapshot.

    Columns: "t"; "reached", the share of trajectories that are predicted so far; "state_mse", over
    the entries of the state and all trajectories, where one that is not predicted so far counts as
    if it had stayed as it started; "energy_mse", "mass_mse" and the like of what the true system
    keeps or lets fall (`System.invariants`), over the trajectories that are. Units are the squares
    of the quantities' own.

    Args:
        rolled: the model's roll-outs.
        data: the data set.
        baselines: others, by name: their columns are the same, but "t", with the name behind
            ("state_mse_persistence").
    """
    times = rolled.dt * torch.arange(rolled.truth.shape[1], dtype=torch.float64)
    columns = {"t": times.numpy(), **_errors(rolled, data)}
    for name, other in (baselines or {}).items():
        columns |= {f"{key}_{name}": values for key, values in _errors(other, data).items()}
    return pd.DataFrame(columns)


def _errors(rolled: RollOut, data: SnapshotData) -> dict[str, Any]:
    truth, predicted, alive = rolled.truth, rolled.predicted, rolled.alive
    stayed = predicted.where(alive.unsqueeze(-1), truth[:, :1])
    means = {
        "reached": alive.double().mean(0),
        "state_mse": (stayed - truth).square().mean(-1).mean(0),
    }
    ours = data.system.invariants(predicted)
    for name, true in data.system.invariants(truth).items():
        error = (ours[name] - true).square()
        means[f"{name}_mse"] = error.where(alive, 0.0).sum(0) / alive.sum(0)
    return {name: mean.numpy() for name, mean in means.items()}


def rollout_scores(
    errors: pd.DataFrame, rolled: RollOut, baselines: Mapping[str, RollOut] | None = None
) -> dict[str, float]:
    """The means of `errors_over_time` over all later snapshots than the given first one.

    A roll-out that failed is in "state_mse" with the error of a state that stays, from where it
    ended: failing is no way to score better than persistence. The energy's and the other means are
    of what was predicted (NaN where nothing was).

    Returns:
        "state_mse", "energy_mse" and the like; "rollout_snapshots": how many snapshots after the
        first one the shortest roll-out got to; "rollout_failed": how many did not get to the last
        one. Of every baseline "state_mse_NAME", and "rollout_failed_NAME" of those that are solved.
    """
    later = errors.iloc[1:]
    weights = later["reached"].to_numpy()
    names = [str(name) for name in errors if str(name).endswith("_mse")]
    scores = {"state_mse": float(later["state_mse"].mean())}
    for name in names:
        if name not in scores:
            values = later[name].where(later["reached"] > 0, 0.0).to_numpy()
            total = weights.sum()
            scores[name] = float((values * weights).sum() / total) if total else math.nan
    scores["rollout_snapshots"] = float(rolled.reached.min()) - 1
    scores["rollout_failed"] = float(rolled.failed)
    for name, other in (baselines or {}).items():
        scores[f"state_mse_{name}"] = float(later[f"state_mse_{name}"].mean())
        if name != PERSISTENCE:
            scores[f"rollout_failed_{name}"] = float(other.failed)
    return scores


def model_energy_drift(
    model: nn.Module, rolled: RollOut, data: SnapshotData, batch_size: int
) -> float | None:
    """How far the roll-outs leave the energy that the model itself has learnt and keeps.

    The largest |E(u(t)) - E(u(0))| over trajectories and snapshots, E = `model.energy`, times dx
    where the state is a field on a grid: in units of the true energy. The field keeps E exactly,
    so what is left is the solver's error and rounding.

    Returns:
        None where the model has no energy, or one that is to fall.
    """
    energy = getattr(model, "energy", None)
    if energy is None or getattr(model, "structure", "skew") != "skew":
        return None
    states = rolled.predicted.flatten(0, 1).to(next(model.parameters()))
    with torch.no_grad():
        values = torch.cat([energy(part).double().cpu() for part in states.split(batch_size)])
    values = (data.dx or 1.0) * values.unflatten(0, rolled.predicted.shape[:2])
    return float((values - values[:, :1]).abs().nan_to_num().max())
