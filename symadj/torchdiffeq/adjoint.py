"""odeint_adjoint as torchdiffeq has it, with its norms of the backward solve's error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError
from symadj.grad import Adjoint, GradientMethod, gradient_named
from symadj.ode.control import Norm, norm_of
from symadj.ode.engine import Step
from symadj.ode.layout import State, StateLayout
from symadj.ode.problem import Problem
from symadj.ode.settings import SolverSettings
from symadj.ode.transforms import beside_the_compiler
from symadj.ode.user_function import Func
from symadj.torchdiffeq.calls import Call, DropInField
from symadj.torchdiffeq.methods import method_of
from symadj.torchdiffeq.options import Asked

Parts = tuple[Tensor, ...]


@beside_the_compiler
def odeint_adjoint(
    func: Func,
    y0: State,
    t: Tensor,
    *,
    rtol: Any = 1e-7,
    atol: Any = 1e-9,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[..., Any] | None = None,
    adjoint_rtol: Any = None,
    adjoint_atol: Any = None,
    adjoint_method: str | None = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[Tensor] | None = None,
    gradient: str | GradientMethod = "adjoint",
) -> Any:
    """As `odeint`, with the gradient of the continuous adjoint method.

    Args:
        func: as `odeint`.
        y0: as `odeint`.
        t: as `odeint`.
        rtol: as `odeint`.
        atol: as `odeint`.
        method: as `odeint`.
        options: as `odeint`.
        event_fn: as `odeint`.
        adjoint_rtol: of the backward solve; None: rtol. Entry by entry it holds for y and the
            adjoint alike.
        adjoint_atol: likewise.
        adjoint_method: of the backward solve; None: method.
        adjoint_options: of the backward solve; None: options without their norm. Its norm is called
            with (t, y, adj_y, *adj_params), the parts of tuples one by one; "seminorm" leaves the
            parameters out; none given: the largest of the parts' norms.
        adjoint_params: the tensors that need a gradient besides y0 and t, all of them; None: func's
            parameters and what else it is found to use.
        gradient: "adjoint"; or "symplectic" and others of symadj's, which are exact and take none
            of the adjoint_... arguments but adjoint_params.

    Returns:
        As `odeint`. A parameter that is not used has the gradient zero.

    Raises:
        InputError: an argument that cannot be used; the message says what is allowed.
        SolveError: the end was not reached.
    """
    call = Call.of(func, y0, t, event_fn)
    if call.done is not None:
        return call.done
    asked, only = call.asked, adjoint_params is not None
    field = DropInField(func, asked.layout, tuple(adjoint_params or ()), only=only, zeros=True)
    named = method_of(method)
    forward = asked.settings(named, rtol, atol, options or {})
    of_backward = (adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options)
    if gradient != "adjoint":
        if any(given is not None for given in of_backward):
            raise InputError(
                "adjoint_rtol, adjoint_atol, adjoint_method and adjoint_options go with "
                f'gradient="adjoint"; given is {gradient!r}. Leave them out, or the gradient.'
            )
        return call.run(field, forward, named, gradient_named(gradient))
    if adjoint_method not in (None, method) and options is not None and adjoint_options is None:
        raise InputError(
            f"adjoint_method={adjoint_method!r} is not method={method!r}, so options cannot stand "
            "for adjoint_options. Give adjoint_options as well ({} for its defaults)."
        )
    if adjoint_options is None:
        adjoint_options = {k: v for k, v in (options or {}).items() if k != "norm"}
    norm = adjoint_options.get("norm")
    backward = Asked(func, asked.y0, asked.t.flip(0), asked.layout).settings(
        method_of(adjoint_method or method),
        rtol if adjoint_rtol is None else adjoint_rtol,
        atol if adjoint_atol is None else adjoint_atol,
        {k: v for k, v in adjoint_options.items() if k != "norm"},
        pairwise=True,
    )
    method_of_gradient = DropInAdjoint(
        backward,
        {**adjoint_options, "norm": _norm(norm, norm_of(forward, asked.layout), asked.layout)},
        seminorm=norm == "seminorm",
    )
    return call.run(field, forward, named, method_of_gradient)


class DropInAdjoint(Adjoint):
    """The adjoint method with a backward solve as torchdiffeq was asked for it.

    Args:
        backward: settings of the backward solve.
        options: adjoint_options with the norm that is in force, of (t, y, adj_y, *adj_params) in
            the engine's layout. They hang on the result's `grad_fn`, where torchdiffeq has them,
            and what stands there when the backward pass begins is used.
        seminorm: whether the norm looks at no parameter.
    """

    def __init__(
        self, backward: SolverSettings, options: dict[str, Any], *, seminorm: bool
    ) -> None:
        super().__init__(seminorm=seminorm, norm=lambda parts: options["norm"](parts))
        self.backward = backward
        self.adjoint_options = options

    def settings(self, forward: SolverSettings) -> SolverSettings:
        """The backward solve's."""
        return self.backward

    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """As `Adjoint.solve_as_node`."""
        ys, steps = super().solve_as_node(problem, y0, k0)
        vars(ys.grad_fn)["adjoint_options"] = self.adjoint_options
        return ys, steps


def _norm(given: Any, of_state: Norm, layout: StateLayout) -> Callable[[Parts], Tensor]:
    """The norm of the backward solve's error, of (t, y, adj_y, *adj_params) in the layout."""
    if given is None or given == "seminorm":
        return lambda parts: _largest(parts, of_state, with_params=given is None)
    if layout.bare:
        return given

    def of_parts(parts: Parts) -> Tensor:
        t, y, adjoint, *params = parts
        return given((t, *layout.unflatten(y), *layout.unflatten(adjoint), *params))

    return of_parts


def _largest(parts: Parts, of_state: Norm, *, with_params: bool) -> Tensor:
    """The largest of |t|, the state's norms of y and adj_y, and each parameter's r.m.s."""
    t, y, adjoint, *params = parts
    norms: Sequence[Any] = [t.abs(), of_state(y), of_state(adjoint)]
    if with_params:
        norms = [*norms, *(p.abs().square().mean().sqrt() for p in params if p.numel())]
    return torch.stack([torch.as_tensor(n, dtype=t.dtype, device=t.device) for n in norms]).amax()
