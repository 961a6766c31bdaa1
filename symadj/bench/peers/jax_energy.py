"""A field on a grid that follows the gradient of a learned energy, as functions of JAX arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from torch import nn

from symadj.bench.peers.jax_solve import (
    Params,
    Solves,
    Stepping,
    array,
    arrays,
    solve,
)
from symadj.bench.problem import BenchProblem
from symadj.errors import IncompatibleError
from symadj.models.energy import EnergyMLP
from symadj.models.energy_conv import EnergyField, GridEnergy
from symadj.tasks.physics import Physics

Gradient = Callable[[Params, Any], Any]


class JaxEnergy:
    """The rate of change over one interval of an `EnergyField`, against the true one.

    Args:
        problem: a `GridEnergy` of an `EnergyMLP` under the task `Physics`; the weights are
            arguments of `loss`.
        formula: whether the energy's gradient is written out, as symadj's model has it; otherwise
            it is jax.grad of the energy.

    Raises:
        IncompatibleError: another model, or more than one interval.
    """

    solves = 1

    def __init__(self, problem: BenchProblem, formula: bool) -> None:
        model, task = problem.parts.model, problem.parts.task
        if not isinstance(model, EnergyField) or not isinstance(model.energy, GridEnergy):
            raise IncompatibleError("the peer diffrax needs model=energy_conv for task=physics.")
        if not isinstance(task, Physics) or task.dt is None or task.horizon != 1:
            raise IncompatibleError("the peer diffrax needs task.horizon=1.")
        self.T = task.dt
        self._of_gradient = _STRUCTURES[model.structure]
        self._dx = model.dx
        self._gradient = (_written_out if formula else _by_autograd)(model.energy)

    def field(self, t: Any, u: Any, params: Params) -> Any:
        """du/dt = G dH/du of u [B, points]; the time does not matter."""
        return self._of_gradient(self._gradient(params, u), self._dx)

    def inputs(self, problem: BenchProblem) -> tuple[Params, Any]:
        """Weights by name, and the windows [B, 2, points]."""
        return arrays(problem.parts.model), array(problem.batch)

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function (params, windows) -> the task's loss and `Solves`.

        Args:
            stepping: of the one solve.
        """
        (how,) = stepping

        def value(params: Params, windows: Any) -> tuple[Any, Solves]:
            end, told = solve(self.field, self.T, windows[:, 0], params, how)
            return (((end - windows[:, 1]) / self.T) ** 2).mean(), Solves.of([told])

        return value


def _by_autograd(energy: GridEnergy) -> Gradient:
    layers = _layers_of(energy)

    def total(u: Any, params: Params) -> Any:
        x = _neighbourhoods(u, energy.reach)
        for weight, bias in layers[:-1]:
            x = jnp.tanh(x @ params[weight].T + params[bias])
        return (x @ params[layers[-1][0]].T).sum()

    return lambda params, u: jax.grad(total)(u, params)


def _written_out(energy: GridEnergy) -> Gradient:
    layers = _layers_of(energy)

    def gradient(params: Params, u: Any) -> Any:
        x, outputs = _neighbourhoods(u, energy.reach), []
        for weight, bias in layers[:-1]:
            x = jnp.tanh(x @ params[weight].T + params[bias])
            outputs.append(x)
        g = params[layers[-1][0]][0]
        for (weight, _), y in zip(reversed(layers[:-1]), reversed(outputs), strict=True):
            g = (g * (1 - y * y)) @ params[weight]
        shifts = range(-energy.reach, energy.reach + 1)
        return sum(jnp.roll(g[..., i], j, -1) for i, j in enumerate(shifts))

    return gradient


def _layers_of(energy: GridEnergy) -> list[tuple[str, str]]:
    """The names of the weights and biases of the linear layers."""
    if type(energy.local) is not EnergyMLP:
        kind = type(energy.local).__name__
        raise IncompatibleError(f"the peer diffrax knows no energy {kind}.")
    return [
        (f"energy.local.net.{i}.weight", f"energy.local.net.{i}.bias")
        for i, layer in enumerate(energy.local.net)
        if isinstance(layer, nn.Linear)
    ]


def _neighbourhoods(u: Any, reach: int) -> Any:
    return jnp.stack([jnp.roll(u, -j, -1) for j in range(-reach, reach + 1)], axis=-1)


def _central(u: Any, dx: float) -> Any:
    return (jnp.roll(u, -1, -1) - jnp.roll(u, 1, -1)) / (2 * dx)


def _second(u: Any, dx: float) -> Any:
    return (jnp.roll(u, -1, -1) - 2 * u + jnp.roll(u, 1, -1)) / dx**2


_STRUCTURES: dict[str, Callable[[Any, float], Any]] = {"skew": _central, "dissipative": _second}
