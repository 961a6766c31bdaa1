"""One solve by diffrax, whatever the field, and what all problems of JAX arrays share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import diffrax  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from torch import Tensor

from symadj.bench.cases import STAND_INS
from symadj.bench.problem import BenchProblem
from symadj.errors import IncompatibleError

Params = Mapping[str, Any]
Stepping = Mapping[str, Any]
"""What tells diffrax how to step: the arguments of `diffeqsolve` by name."""

SOLVERS = {
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "tsit5": diffrax.Tsit5,
    "bosh3": diffrax.Bosh3,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "euler": diffrax.Euler,
}
"""Our solvers that diffrax has too, and what stands in for one that it lacks."""


class Solves(NamedTuple):
    """What a solve tells; of several solves, an entry for each.

    Attributes:
        steps: attempted.
        accepted: of them.
        ended: whether the end was reached.
    """

    steps: Any
    accepted: Any
    ended: Any

    @staticmethod
    def of(each: Sequence[Solves]) -> Solves:
        """Those of an evaluation in their order."""
        return Solves(*zip(*each, strict=True))


class JaxProblem(Protocol):
    """An objective as functions of JAX arrays.

    Attributes:
        solves: of one evaluation.
        T: the time that every one of them goes to, from 0.
    """

    solves: int
    T: float

    def inputs(self, problem: BenchProblem) -> tuple[Any, ...]:
        """Weights by name and what else `loss` takes, in the precision that JAX works in."""
        ...

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function of `inputs` -> the objective and what its solves tell.

        Args:
            stepping: of every solve.
        """
        ...


def solver_of(method: str) -> Any:
    """diffrax's solver, or the one that stands in for it.

    Raises:
        IncompatibleError: it has neither.
    """
    name = STAND_INS.get(method, method)
    if name not in SOLVERS:
        known = [ours for ours in (*SOLVERS, *STAND_INS) if ours not in STAND_INS.values()]
        raise IncompatibleError(
            f"the peer diffrax has no solver {method!r}; it has {', '.join(known)}."
        )
    return SOLVERS[name]()


def solve(
    field: Callable[..., Any],
    solver: Any,
    T: float,
    y0: Any,
    params: Params,
    how: Stepping,
    times: Sequence[float] | None = None,
) -> tuple[Any, Solves]:
    """y(T) of dy/dt = field(t, y, params), y(0) = y0, or y at each of the times."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        0.0,
        T,
        y0=y0,
        args=params,
        saveat=diffrax.SaveAt(t1=True) if times is None else diffrax.SaveAt(ts=jnp.asarray(times)),
        throw=False,
        **how,
    )
    counts, ended = solution.stats, solution.result == diffrax.RESULTS.successful
    ys = solution.ys
    if times is None:
        ys = jax.tree_util.tree_map(lambda ys: ys[0], ys)
    return ys, Solves(counts["num_steps"], counts["num_accepted_steps"], ended)


def adaptive(rtol: float, atol: float, first: float | None, max_steps: int) -> Stepping:
    """Adaptive steps under symadj's norm: the largest of the root mean squares of the parts."""
    return {
        "dt0": first,
        "stepsize_controller": diffrax.PIDController(rtol=rtol, atol=atol, norm=_norm),
        **_bounded(max_steps),
    }


def on_grid(times: Sequence[float]) -> Stepping:
    """Exactly these steps."""
    return {
        "dt0": None,
        "stepsize_controller": diffrax.StepTo(jnp.asarray(times)),
        **_bounded(len(times) - 1),
    }


def _bounded(max_steps: int) -> Stepping:
    """diffrax's default adjoint: backpropagation from checkpoints (Stumm and Walther 2010).

    Left alone it keeps the states of 90 steps, so many as suit its default of at most 4096 steps;
    fewer steps are all kept, in no more memory than they need. (Of a smaller `max_steps` it would
    derive fewer checkpoints, and recompute steps to save a state or two.)
    """
    kept = min(max_steps, CHECKPOINTS)
    return {
        "max_steps": max_steps,
        "adjoint": diffrax.RecursiveCheckpointAdjoint(checkpoints=kept),
    }


CHECKPOINTS = 90


def array(x: Tensor) -> Any:
    """A tensor as a JAX array, in the precision that JAX works in at present."""
    return jnp.asarray(x.detach().cpu().numpy(), dtype=jnp.result_type(float))


def arrays(model: Any) -> Params:
    """The parameters of a module by name."""
    return {name: array(parameter) for name, parameter in model.named_parameters()}


def _norm(parts: Any) -> Any:
    squares = [jnp.mean(leaf**2) for leaf in jax.tree_util.tree_leaves(parts)]
    return jnp.sqrt(jnp.max(jnp.stack(squares)))
