"""The continuous adjoint method: integrates the adjoint equation backward, with errors of its own.

Chen et al.: "Neural Ordinary Differential Equations", NeurIPS 2018, arXiv:1806.07366.
Kidger, Chen, Lyons: "Hey, that's not an ODE: Faster ODE Adjoints via Seminorms", ICML 2021,
arXiv:2009.09457.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from symadj.errors import IncompatibleError
from symadj.grad.base import OneNodeMethod
from symadj.grad.quadrature import Quadrature
from symadj.ode.callbacks import Callbacks
from symadj.ode.control import (
    AdaptiveSteps,
    FixedSteps,
    Progress,
    StepController,
    error_ratio,
    error_scale,
    norm_of,
    ratio_of,
)
from symadj.ode.engine import Step, integrate
from symadj.ode.methods import Attempt, ImplicitRungeKutta, explicit
from symadj.ode.once import first_order_only
from symadj.ode.problem import Problem, StepList, stepping
from symadj.ode.settings import OPTIONS_OF, SolverSettings
from symadj.warn import warn

_NEEDED_BY = "the backward solve of gradient=adjoint (adjoint_method, grad.method)"

AdjointNorm = Callable[[tuple[Tensor, ...]], Tensor]


class Adjoint(OneNodeMethod):
    """Integrates y, lambda backward from the last output time to the first:

        dy/dt = f,    dlambda/dt = -(df/dy)^T lambda,    dg/dt = -(df/dtheta)^T lambda,

    where at every output time lambda gains the output's cotangent and y is set to the output. g, as
    large as the parameters, is a running sum with the weights of the method, not a part of the
    stepped state. The gradient is as good as the tolerance, not exact.

    Args:
        rtol: of the backward solve; None: the forward one's.
        atol: likewise.
        method: solver of the backward solve; None: the forward one.
        options: options of the backward solve, as in `odeint`; None: the forward one's. Fixed
            forward steps are taken again in reverse unless options say otherwise.
        seminorm: leaves g out of the error estimate (Kidger et al.); False: the error of g, its
            root mean square over all parameters, counts as a part of the state would.
        norm: instead, the caller's own norm of the errors of the backward solve in units of the
            tolerance, called with a tuple: of time (a zero), y, lambda and g, parameter by
            parameter (zeros, with the seminorm).
    """

    name = "adjoint"
    exact = False

    def __init__(
        self,
        rtol: float | None = None,
        atol: float | None = None,
        method: str | None = None,
        options: Mapping[str, Any] | None = None,
        seminorm: bool = True,
        norm: AdjointNorm | None = None,
    ) -> None:
        self.rtol = rtol
        self.atol = atol
        self.method = method
        self.options = None if options is None else dict(options)
        self.seminorm = seminorm
        self.norm = norm
        if method is not None or rtol is not None or atol is not None or options is not None:
            # Refused now rather than in the middle of a training step.
            try:
                self.settings(SolverSettings())
            except IncompatibleError:
                if options is not None:
                    raise

    def settings(self, forward: SolverSettings) -> SolverSettings:
        """The backward solve's settings, given the forward one's."""
        method = forward.method if self.method is None else self.method
        rtol = forward.rtol if self.rtol is None else self.rtol
        atol = forward.atol if self.atol is None else self.atol
        if self.options is not None:
            options = {"sync": forward.sync, **self.options}
            return SolverSettings.from_options(method, rtol, atol, options)
        given = {"method": method, "rtol": rtol, "atol": atol, "first_step": None}
        if method != forward.method:
            given |= dict.fromkeys(OPTIONS_OF)
        return dataclasses.replace(forward, **given)

    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """Only the outputs are kept.

        Raises:
            IncompatibleError: `sync`, and an error that counts the parameters' integral; or a
                backward solve by a method that is no explicit Runge-Kutta method.
        """
        if problem.settings.sync and not (self.seminorm and self.norm is None):
            raise IncompatibleError(
                "sync=true with the adjoint method and seminorm=false, or a norm of your own: the "
                "parameters' integral is known when all processes have done their part of it. "
                "Take seminorm=true."
            )
        settings = self.settings(problem.settings)
        if isinstance(settings.solver, ImplicitRungeKutta):
            raise IncompatibleError(
                "gradient=adjoint integrates y backward along with its adjoint, and the fields "
                f"that method={settings.method} is for are unstable in that direction. Take "
                "symplectic, aca, checkpoint or backprop, which are exact, or give the backward "
                'solve an explicit method of its own: Adjoint(method="dopri5") (adjoint_method, '
                "grad.method)."
            )
        explicit(settings.solver, _NEEDED_BY)
        forward = _Forward(problem, settings, self, k0)
        ys = _AdjointFunction.apply(forward, y0, *problem.field.params)
        return ys, forward.steps.steps


class _Forward:
    """What the forward pass hands to the backward one."""

    def __init__(
        self, problem: Problem, settings: SolverSettings, method: Adjoint, k0: Tensor
    ) -> None:
        self.problem = problem
        self.settings = settings
        self.method = method
        self.steps = StepList()
        self.k0: Tensor | None = k0

    def run(self, y0: Tensor) -> Tensor:
        field = self.problem.field
        with field.phase("forward"):
            ys = self.problem.solve_plain(y0, k0=self.k0, observer=self.steps)
        if field.draws is not None or field.drew_late(self.problem.times[0]):
            warn(
                "func draws random numbers, new ones in the backward solve of "
                'gradient="adjoint", so its gradient is that of another field. Take a method that '
                'repeats them, such as gradient="symplectic".'
            )
            self.k0 = None
        self.k0 = self.k0 if field.checked else None
        if self.k0 is not None:
            field.stats.checkpoint_bytes += self.k0.nbytes
        field.settle()
        return ys


class _AdjointFunction(torch.autograd.Function):
    """The autograd node of a solve by `Adjoint`."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: Tensor, *params: Tensor) -> Tensor:
        ys = forward.run(y0)
        ctx.forward = forward
        ctx.save_for_backward(ys, *params)
        return ys

    @staticmethod
    @first_order_only
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        forward: _Forward = ctx.forward
        problem, field, k0 = forward.problem, forward.problem.field, forward.k0
        field.refuse_changes()
        ys = ctx.saved_tensors[0]
        with field.backward(problem.start, None if k0 is None else lambda: k0):
            field.conclude(ys[0])
            solve = _BackwardSolve(forward)
            of_y0 = solve.run(ys, cotangents)
        return None, of_y0, *solve.gradients.results()


class _BackwardSolve:
    """One backward pass: the segments between output times, from the last to the first.

    The stepped state is the pair (y, lambda), stacked.
    """

    def __init__(self, forward: _Forward) -> None:
        self.problem = forward.problem
        self.field = forward.problem.field
        self.settings = forward.settings
        self.norm = norm_of(forward.settings, self.field.layout)
        self.norm_of_all = forward.method.norm
        backward = self.problem.answered[::-1]
        self.solver = explicit(
            stepping(self.settings, backward, self.field.layout.time_dtype),
            _NEEDED_BY,
        )
        self.gradients = self.field.no_gradients()
        self.quadrature = Quadrature(
            self.solver, self.gradients, with_error=not forward.method.seminorm
        )
        self.backward_grid = self._fixed_grid(forward)
        self.last_step: float | None = None
        self.callbacks = Callbacks(self.field.func, self.field.layout, adjoint=True)

    def run(self, ys: Tensor, cotangents: Tensor) -> Tensor:
        """The cotangent of y0; the parameters' ones are in `gradients`."""
        times = self.problem.answered
        adjoint = cotangents[-1]
        for n in range(len(times) - 1, 0, -1):
            pair = self._segment(times[n], times[n - 1], torch.stack([ys[n], adjoint]))
            adjoint = pair[1] + cotangents[n - 1]
        return adjoint

    def _segment(self, t1: float, t0: float, pair: Tensor) -> Tensor:
        """(y, lambda) at t0 from that at t1 > t0 (in the direction of the forward solve)."""
        progress = Progress(self.field.stats, "backward", t1, pair)
        k0 = self._slope(self.solver.start(t1, t0), pair)
        self.quadrature.restart()
        controller = self._controller(t1, t0)
        pair = integrate(
            self._slope,
            self.solver,
            pair,
            (t1, t0),
            controller,
            progress,
            ratio=self._ratio,
            k0=k0,
            observer=self.quadrature,
            callbacks=self.callbacks,
        )
        if isinstance(controller, AdaptiveSteps):
            self.last_step = controller.h
        return pair

    def _slope(self, t: float, pair: Tensor) -> Tensor:
        """(f, -(df/dy)^T lambda); the parameters' product goes to the quadrature."""
        y, adjoint = pair.unbind()
        k, of_y, of_params = self.field.value_and_vjp(t, y, adjoint)
        self.quadrature.hand_over(of_params)
        return torch.stack([k, of_y.neg()])

    def _ratio(self, attempt: Attempt, estimates: Sequence[Tensor]) -> Tensor:
        """The larger of the errors of y and lambda (and g), in units of the tolerance."""
        assert attempt.y1 is not None
        if self.norm_of_all is not None:
            scale = error_scale(self.settings.tolerances, attempt.y0, attempt.y1)
            of_params = self.quadrature.scaled(self.settings)
            return ratio_of([self._all(e / scale, of_params) for e in estimates])
        ratios = [
            error_ratio(self.settings.tolerances, self.norm, a, b, [e[i] for e in estimates])
            for i, (a, b) in enumerate(zip(attempt.y0, attempt.y1, strict=True))
        ]
        ratio_of_params = self.quadrature.ratio(self.settings)
        if ratio_of_params is not None:
            ratios.append(ratio_of_params.to(ratios[0]))
        return torch.stack(ratios).amax()

    def _controller(self, t1: float, t0: float) -> StepController:
        if self.backward_grid is not None:
            low, high = min(t0, t1), max(t0, t1)
            inside = [t for t in self.backward_grid if low < t < high]
            return FixedSteps([t1, *sorted(inside, reverse=t1 > t0), t0])
        order = self.solver.error_order
        assert order is not None
        return AdaptiveSteps(self.settings, (t1, t0), order, self._pair_norm, self.last_step)

    def _pair_norm(self, pair: Tensor) -> Tensor:
        if self.norm_of_all is not None:
            return self._all(pair, [None] * len(self.field.params))
        return torch.stack([self.norm(part) for part in pair.unbind()]).amax()

    def _all(self, pair: Tensor, of_params: Sequence[Tensor | None]) -> Tensor:
        """The caller's norm; a part that is not there counts as zeros, which take no memory."""
        assert self.norm_of_all is not None
        parts = [
            p.new_zeros(()).expand(p.shape) if part is None else part
            for p, part in zip(self.field.params, of_params, strict=True)
        ]
        time = torch.zeros((), dtype=self.field.layout.time_dtype, device=pair.device)
        with torch.no_grad():
            return self.norm_of_all((time, *pair.unbind(), *parts))

    def _fixed_grid(self, forward: _Forward) -> list[float] | None:
        """The backward solve's fixed steps over the whole interval, or None where it adapts."""
        settings = self.settings
        if settings.adaptive:
            return None
        if settings.grid is not None and settings.grid == forward.problem.settings.grid:
            return [float(t) for t in settings.grid]
        times = self.problem.answered
        return settings.fixed_grid(times[-1], times[0])
