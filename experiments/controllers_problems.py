"""The problems that step controllers are compared on: those of `users`, three classical ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import users
from symadj.bench.problem import BenchProblem
from symadj.calls.integrator import Integrator
from symadj.calls.solving import Solution
from symadj.config.compose import compose
from symadj.ode.events import Events
from symadj.ode.layout import State
from symadj.ode.user_function import Func

Field = Callable[[Any, Any], Any]
BATCHES = {"cnf_gas": 8, "cnf_toy": 50, "conv": 1, "hnn": 16, "attention": 1, "latent": 50}
"""Smaller than those of `users`, but for latent's: evaluations are counted, none is timed."""
TITLES = {
    "cnf_gas": "flow, GAS's size",
    "cnf_toy": "flow, toy size",
    "conv": "convolutions",
    "hnn": "Hamiltonian network",
    "attention": "attention",
    "latent": "latent ODE",
    "kepler": "Kepler, e = 0.6",
    "van_der_pol": "Van der Pol, µ = 2",
    "lorenz": "Lorenz",
}


@dataclass(frozen=True)
class OdeProblem:
    """dy/dt = f(t, y) in float64.

    Attributes:
        f: takes tensors.
        y0: the state at t[0] = 0.
        t: the output times.
        in_jax: makes f for JAX arrays.
    """

    f: Func
    y0: State
    t: Tensor
    in_jax: Callable[[], Field]


class _Caught(Integrator):
    """Remembers what it is asked to solve."""

    asked: tuple[Func, State, Tensor]

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        self.asked = func, y0, t
        return super().solve(func, y0, t, params, events)


def problem_named(name: str) -> OdeProblem:
    """A problem of `TITLES`."""
    return CLASSICAL[name]() if name in CLASSICAL else _of_users(name)


def _of_users(name: str) -> OdeProblem:
    chosen = (f"experiment={name}", f"train.batch_size={BATCHES[name]}", "dtype=float64")
    config = compose("train", chosen, Path(users.__file__).parent / "configs")
    problem = BenchProblem.of(config)
    integrator = _Caught(problem.parts.integrator.solver)
    with torch.no_grad():
        problem.loss(integrator)
    module, y0, t = integrator.asked
    return OdeProblem(module, y0, t, lambda: _user_field_in_jax(module))


def _user_field_in_jax(module: Any) -> Field:
    from symadj.bench.peers.jax_solve import array, arrays
    from users.jax_fields import jax_field

    field, params = jax_field(module), arrays(module)
    more = (array(module.noise),) if hasattr(module, "noise") else ()
    return lambda t, y: field(t, y, params, *more)


def _kepler(state: Any, stack: Callable[[list[Any]], Any]) -> Any:
    x, y, u, v = state
    cubed = (x * x + y * y) ** 1.5
    return stack([u, v, -x / cubed, -y / cubed])


def _van_der_pol(state: Any, stack: Callable[[list[Any]], Any]) -> Any:
    x, v = state
    return stack([v, 2.0 * (1.0 - x * x) * v - x])


def _lorenz(state: Any, stack: Callable[[list[Any]], Any]) -> Any:
    x, y, z = state
    return stack([10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z])


def _classical(f: Callable[..., Any], y0: Sequence[float], end: float) -> OdeProblem:
    def in_jax() -> Field:
        import jax.numpy as jnp  # pyright: ignore[reportMissingImports]

        return lambda t, y: f(y, jnp.stack)

    return OdeProblem(
        lambda t, y: f(y, torch.stack),
        torch.tensor(y0, dtype=torch.float64),
        torch.linspace(0, end, 21, dtype=torch.float64),
        in_jax,
    )


CLASSICAL: dict[str, Callable[[], OdeProblem]] = {
    # Two orbits of eccentricity 0.6, from the pericentre.
    "kepler": lambda: _classical(_kepler, (0.4, 0.0, 0.0, 2.0), 4 * math.pi),
    "van_der_pol": lambda: _classical(_van_der_pol, (2.0, 0.0), 15.0),
    "lorenz": lambda: _classical(_lorenz, (1.0, 1.0, 1.0), 3.0),
}
