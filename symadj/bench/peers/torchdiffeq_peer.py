"""torchdiffeq's odeint and odeint_adjoint behind the interface of an `Integrator`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torchdiffeq  # pyright: ignore[reportMissingImports]
from torch import Tensor, nn

from symadj.bench.candidate import Lap, TorchCandidate
from symadj.bench.cases import STAND_INS, Peer
from symadj.bench.problem import BenchProblem
from symadj.bench.replay import Grid
from symadj.calls.integrator import Integrator
from symadj.calls.solving import Solution, Steps
from symadj.errors import (
    IncompatibleError,
    MaxStepsExceeded,
    NonFiniteError,
    SolveError,
    StepSizeUnderflow,
)
from symadj.ode.events import Events
from symadj.ode.layout import State
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats
from symadj.ode.user_function import Func

ADAPTIVE = {
    "dopri5": "dopri5",
    "bosh3": "bosh3",
    "heun": "adaptive_heun",
    "fehlberg2": "fehlberg2",
    "dopri8": "dopri8",
    **STAND_INS,
}
"""Our solvers of adaptive steps and torchdiffeq's names of the same methods, or of stand-ins."""

# torchdiffeq's "rk4" is the 3/8 rule.
FIXED = {
    "euler": "euler",
    "midpoint": "midpoint",
    "heun": "heun2",
    "heun3": "heun3",
    "rk38": "rk4",
}
"""The same for fixed steps."""


class TorchdiffeqIntegrator(Integrator):
    """Solves with torchdiffeq as `Integrator` solves with symadj.

    Args:
        solver: tolerances and steps are taken over; the rest is torchdiffeq's own choice.
        adjoint: whether gradients come from odeint_adjoint.
        grids: None, or for each solve to come the times of its steps.

    Raises:
        IncompatibleError: torchdiffeq does not have the solver, or not with such steps.
    """

    def __init__(
        self, solver: SolverSettings, adjoint: bool, grids: Sequence[Grid] | None = None
    ) -> None:
        super().__init__(solver, "adjoint" if adjoint else "backprop")
        self.adjoint = adjoint
        self.method = torchdiffeq_name(solver)
        self.last: _Counted | None = None
        self._grids = None if grids is None else iter(grids)

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        """As `Integrator.solve`; the result's steps are those of the forward solve.

        Raises:
            IncompatibleError: there are events.
        """
        if events is not None:
            raise IncompatibleError("the peer torchdiffeq solves without events here.")
        counted = self.last = _Counted(func, self.adjoint, self.solver.adaptive)
        arguments = self._arguments()
        ys: Any
        if self.adjoint:
            wanted = [p for p in (*counted.parameters(), *(params or ())) if p.requires_grad]
            ys = torchdiffeq.odeint_adjoint(
                counted,
                y0,
                t,
                adjoint_params=tuple(wanted),
                # As symadj's adjoint method has it; torchdiffeq's default costs more steps.
                adjoint_options={**self._options(), "norm": "seminorm"},
                adjoint_rtol=self.solver.rtol,
                adjoint_atol=self.solver.atol,
                **arguments,
            )
        else:
            ys = torchdiffeq.odeint(counted, y0, t, **arguments)
        counted.stats.output_bytes = sum(y.nbytes for y in (ys if isinstance(ys, tuple) else (ys,)))
        self._counted.append(counted.stats)
        return Solution(ys, counted.steps(float(t[-1])), counted.stats)

    def _arguments(self) -> dict[str, Any]:
        solver = self.solver
        arguments: dict[str, Any] = {"rtol": solver.rtol, "atol": solver.atol}
        options = self._options()
        if solver.adaptive and self._grids is not None:
            grid = next(self._grids)
            # Every step may be as long as the next prescribed time lets it, and is accepted.
            options |= {"step_t": torch.tensor(grid[1:], dtype=torch.float64)}
            options |= {"first_step": 2 * (grid[-1] - grid[0]), "ifactor": 1e9}
            arguments = {"rtol": 0.0, "atol": 1e30}
        return {"method": self.method, "options": options, **arguments}

    def _options(self) -> dict[str, Any]:
        solver = self.solver
        if solver.adaptive:
            options: dict[str, Any] = {"max_num_steps": solver.max_steps}
            if solver.first_step is not None:
                options["first_step"] = solver.first_step
            return options

        def grid(_: Any, y0: Tensor, t: Tensor) -> Tensor:
            times = solver.fixed_grid(float(t[0]), float(t[-1]))
            return torch.tensor(times, dtype=t.dtype, device=t.device)

        return {"grid_constructor": grid}


def torchdiffeq_name(solver: SolverSettings) -> str:
    """torchdiffeq's name of a solver.

    Raises:
        IncompatibleError: torchdiffeq does not have it, or not with such steps.
    """
    names, steps = (ADAPTIVE, "adaptive") if solver.adaptive else (FIXED, "fixed")
    if solver.method not in names:
        raise IncompatibleError(
            f"torchdiffeq has no solver {solver.method!r} with {steps} steps; with them it has "
            f"{', '.join(names)}."
        )
    return names[solver.method]


class TorchdiffeqCandidate(TorchCandidate):
    """torchdiffeq on the problem's own model and loss.

    Raises:
        IncompatibleError: what torchdiffeq or the model does not have.
    """

    def __init__(self, problem: BenchProblem, peer: Peer) -> None:
        self.peer = TorchdiffeqIntegrator(problem.parts.integrator.solver, peer.adjoint)
        super().__init__(problem, self.peer)

    def evaluate(self) -> Lap:
        """As `TorchCandidate`; where torchdiffeq gives up, that is a `SolveError`."""
        try:
            return super().evaluate()
        except AssertionError as error:
            raise _failure(error, self.peer.last) from error

    def replayed(self, grids: Sequence[Grid]) -> Tensor:
        """The gradient in float64 on given steps; the adjoint's backward steps stay its own."""
        integrator = TorchdiffeqIntegrator(self.peer.solver, self.peer.adjoint, grids)
        return self.problem.replayed_gradient(integrator)[0]


class _Counted(nn.Module):
    """A field that counts its evaluations, and its solver's steps through the callbacks."""

    def __init__(self, func: Func, adjoint: bool, adaptive: bool) -> None:
        super().__init__()
        self.func = func
        self.adjoint = adjoint
        self.stats = SolveStats()
        self.starts: list[tuple[float, float]] = []
        self.attempt = (math.nan, math.nan)
        accept = "callback_accept_step" if adaptive else "callback_step"
        setattr(self, accept, self._accepted)
        setattr(self, f"{accept}_adjoint", self._accepted_backward)
        if adaptive:
            self.callback_reject_step = self._rejected
            self.callback_reject_step_adjoint = self._rejected

    def forward(self, t: Tensor, y: Any) -> Any:
        if self.adjoint and torch.is_grad_enabled():
            self.stats.with_graph += 1
            self.stats.vjps += 1
        else:
            self.stats.forward += 1
            self.stats.with_graph += torch.is_grad_enabled()
        if not torch.is_grad_enabled():
            # odeint_adjoint hands on views of a state that requires a gradient, in which
            # torch.autograd.grad inside the field finds no way back to the state.
            y = tuple(part.detach() for part in y) if isinstance(y, tuple) else y.detach()
        return self.func(t, y)

    def _accepted(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self._accepted_backward(t0, y0, dt)
        self.starts.append(self.attempt)

    def _accepted_backward(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.stats.accepted += 1
        self._attempted(t0, dt)

    def _rejected(self, t0: Tensor, y0: Any, dt: Tensor) -> None:
        self.stats.rejected += 1
        self._attempted(t0, dt)

    def _attempted(self, t0: Tensor, dt: Tensor) -> None:
        # Step sizes have a graph there: torchdiffeq differentiates its step control.
        self.attempt = (float(t0.detach()), float(dt.detach()))

    def steps(self, end: float) -> Steps:
        """The accepted steps of the forward solve; the last one may reach beyond the end."""
        pairs = torch.tensor(self.starts, dtype=torch.float64).reshape(-1, 2)
        return Steps(pairs[:, 0], pairs[:, 1], end)


_ENDINGS: dict[str, Callable[..., SolveError]] = {
    "underflow in dt": StepSizeUnderflow,
    "max_num_steps": MaxStepsExceeded,
    "non-finite": NonFiniteError,
}


def _failure(error: AssertionError, solve: _Counted | None) -> Exception:
    """torchdiffeq's way to say that it gives up, as ours; any other error as it is."""
    for text, kind in _ENDINGS.items():
        if solve is not None and text in str(error):
            t, h = solve.attempt
            return kind(
                f"torchdiffeq: {str(error)[:200]}",
                phase="backward" if solve.adjoint and solve.stats.with_graph else "forward",
                t=t,
                h=h,
                steps=solve.stats.accepted,
                rejects=solve.stats.rejected,
                largest=math.nan,
            )
    return error
