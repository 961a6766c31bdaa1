"""One solve by diffrax, whatever the field, and what all problems of JAX arrays share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import diffrax  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import optimistix  # pyright: ignore[reportMissingImports]
from torch import Tensor

from symadj.bench.cases import STAND_INS
from symadj.bench.problem import BenchProblem
from symadj.errors import IncompatibleError
from symadj.ode.newton import KAPPA, MAX_NEWTON
from symadj.ode.settings import SolverSettings

Params = Mapping[str, Any]
Stepping = Mapping[str, Any]
"""What tells diffrax how to step: the arguments of `diffeqsolve` by name, its solver among them."""

EXPLICIT = {
    "dopri5": diffrax.Dopri5,
    "dopri8": diffrax.Dopri8,
    "tsit5": diffrax.Tsit5,
    "bosh3": diffrax.Bosh3,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "euler": diffrax.Euler,
    "reversible_heun": diffrax.ReversibleHeun,
}
"""Our solvers that diffrax has too, and what stands in for one that it lacks."""
IMPLICIT = {
    "implicit_euler": diffrax.ImplicitEuler,
    "kvaerno3": diffrax.Kvaerno3,
    "kvaerno5": diffrax.Kvaerno5,
}
"""Those whose steps solve equations, for which they take a root finder."""


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


def _solver_of(method: str, root_finder: Any, iterations: int) -> Any:
    """diffrax's solver, or the one that stands in for it.

    Args:
        method: ours.
        root_finder: of an implicit one.
        iterations: that it may take for a stage.

    Raises:
        IncompatibleError: it has neither.
    """
    if method in IMPLICIT:
        return IMPLICIT[method](root_finder=root_finder, root_find_max_steps=iterations)
    name = STAND_INS.get(method, method)
    if name not in EXPLICIT:
        names = (*EXPLICIT, *STAND_INS, *IMPLICIT)
        known = [ours for ours in names if ours not in STAND_INS.values()]
        raise IncompatibleError(
            f"the peer diffrax has no solver {method!r}; it has {', '.join(known)}."
        )
    return EXPLICIT[name]()


def solve(
    field: Callable[..., Any],
    T: float,
    y0: Any,
    params: Params,
    how: Stepping,
    times: Sequence[float] | None = None,
) -> tuple[Any, Solves]:
    """y(T) of dy/dt = field(t, y, params), y(0) = y0, or y at each of the times."""
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        t0=0.0,
        t1=T,
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


def adaptive(
    method: str,
    rtol: float,
    atol: float,
    max_steps: int,
    first_step: float | None = None,
    newton_tol: float | None = None,
) -> Stepping:
    """Adaptive steps under symadj's norm: the largest of the root mean squares of the parts.

    The equations of implicit steps are solved as diffrax has it: simplified Newton iterations with
    the Jacobian of the step's first implicit stage, 10 at most, to 0.01 times the tolerances and
    in the norm of the step control. That is symadj's default too, except that diffrax measures the
    correction of f, and symadj that of the state.

    Args:
        method: ours.
        rtol, atol, first_step: as `SolverSettings` has them.
        max_steps: attempted ones that there is room for.
        newton_tol: in place of 0.01 rtol (0.01 atol where rtol is 0).

    Raises:
        IncompatibleError: diffrax does not have the method.
    """
    given = {} if newton_tol is None else {"kappa": newton_tol / (rtol or atol)}
    chord = diffrax.with_stepsize_controller_tols(diffrax.VeryChord)(**given)
    return {
        "solver": _solver_of(method, chord, 10),
        "dt0": first_step,
        "stepsize_controller": diffrax.PIDController(rtol=rtol, atol=atol, norm=_norm),
        **_bounded(max_steps),
    }


def on_grid(settings: SolverSettings, times: Sequence[float]) -> Stepping:
    """Exactly these steps.

    No step can be tried again with half its length, and there is no step control to take
    tolerances from. So the equations of implicit steps are solved by Newton's method with a
    Jacobian at every iterate, until the error of f is at most newton_tol (|f| + atol / rtol) in
    the norm of `adaptive`; newton_tol where rtol is 0. Of a newton_tol below the root of the
    machine precision the root is taken: one more correction, and there is nothing but rounding,
    which in stiff directions diffrax would take for divergence.

    Args:
        settings: whose method, tolerances and options of implicit methods hold.
        times: of the steps.

    Raises:
        IncompatibleError: diffrax does not have the method.
    """
    rtol, atol = settings.rtol, settings.atol
    root = float(jnp.finfo(jnp.result_type(float)).eps) ** 0.5
    newton = _Newton(
        rtol=1.0 if rtol else 0.0,
        atol=atol / rtol if rtol else 1.0,
        norm=_norm,
        kappa=max(settings.newton_tol or KAPPA * (rtol or atol), root),
        cauchy_termination=False,
    )
    return {
        "solver": _solver_of(settings.method, newton, settings.max_newton or MAX_NEWTON),
        "dt0": None,
        "stepsize_controller": diffrax.StepTo(jnp.asarray(times)),
        **_bounded(len(times) - 1),
    }


class _Newton(optimistix.Newton):
    """Newton's method that goes on until it converges or diverges.

    optimistix 0.1.0 takes every iteration but a converged one for a divergence, so that it ends at
    the second (its issue 221, mended after that release). diffrax 0.7.2 has the same in the root
    finder of its adaptive steps, which is left as it is: such steps are rejected and taken shorter.
    """

    def terminate(self, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Whether to end, and as what."""
        ends, result = super().terminate(*args, **kwargs)
        going_on = optimistix.RESULTS.successful
        return ends, optimistix.RESULTS.where(ends, result, going_on)


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
