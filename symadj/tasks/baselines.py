"""What a learned field is compared with: roll-outs of models that nobody has trained."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from symadj.calls.integrator import Integrator
from symadj.data.physics.snapshots import SnapshotData
from symadj.tasks.rollout import PERSISTENCE, RollOut, roll_out

RIDGE = 1e-12
"""Added to the normal equations' diagonal, in units of its mean."""

LINEAR_UP_TO = 1_000
"""Entries of a state beyond which no linear model is fitted: it has the square of them."""


def baseline_rollouts(
    x: Tensor, data: SnapshotData, integrator: Integrator, batch_size: int
) -> dict[str, RollOut]:
    """Roll-outs by name over the times of given trajectories.

    `PERSISTENCE`: the state stays as it starts. "linear": `linear_map` of the training
    trajectories, snapshot by snapshot, for states of at most `LINEAR_UP_TO` entries. "true_field":
    the true system, where it is known, by the same solver: what the solver alone loses, and where
    that cannot follow the system, a failure.

    Args:
        x: trajectories [n, T, dim].
        data: the data set.
        integrator: solver, for the whole time span.
        batch_size: trajectories per solve.
    """
    x = x.double()
    found = {PERSISTENCE: RollOut.of(data.dt, x, x[:, :1].expand_as(x))}
    if data.dim <= LINEAR_UP_TO:
        found["linear"] = RollOut.of(data.dt, x, linear_states(data.train, x))
    if data.known:
        # What is compiled is a module; a formula is quick as it is.
        settings = dataclasses.replace(integrator.solver, compile=False)
        same = Integrator(settings, integrator.gradient)
        found["true_field"] = roll_out(
            lambda t, u: data.system.derivative(u), x, data.dt, same, batch_size
        )
    return found


def linear_states(train: Tensor, x: Tensor) -> Tensor:
    """The states [n, T, dim] from the first ones of x [n, T, dim], by `linear_map` of `train`."""
    matrix, shift = linear_map(train)
    u = x[:, 0].cpu()
    states = [u]
    for _ in range(x.shape[1] - 1):
        u = u + u @ matrix + shift
        states.append(u)
    return torch.stack(states, dim=1)


def linear_map(trajectories: Tensor) -> tuple[Tensor, Tensor]:
    """The least-squares map u_{n+1} - u_n = u_n A + b of trajectories [n, T, dim].

    With a ridge of `RIDGE` on A and b, without which states that lie in a subspace would leave
    them undetermined.

    Returns:
        A [dim, dim] and b [dim], float64 on the CPU.
    """
    u = trajectories.double().cpu()
    before = u[:, :-1].flatten(0, 1)
    steps = (u[:, 1:] - u[:, :-1]).flatten(0, 1)
    inputs = torch.cat([before, before.new_ones(len(before), 1)], dim=1)
    squares = inputs.T @ inputs
    squares += RIDGE * squares.diagonal().mean() * torch.eye(len(squares), dtype=torch.float64)
    solution = torch.linalg.solve(squares, inputs.T @ steps)
    return solution[:-1], solution[-1]
