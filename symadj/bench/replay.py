"""The same solves again: on the steps that were accepted once, with the same random numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from symadj.calls.integrator import Integrator
from symadj.calls.solving import Solution, solve_with
from symadj.errors import SymadjError
from symadj.grad import Adjoint, GradientMethod
from symadj.ode.events import Events
from symadj.ode.layout import State
from symadj.ode.methods import IMPLICIT
from symadj.ode.settings import SolverSettings
from symadj.ode.user_function import Func

Grid = list[float]


class RecordingIntegrator(Integrator):
    """An integrator that remembers the accepted steps of its solves.

    Attributes:
        grids: the times of the steps, for each solve since `restart`.
    """

    def __init__(
        self, solver: SolverSettings, gradient: GradientMethod | str = "symplectic"
    ) -> None:
        super().__init__(solver, gradient)
        self.grids: list[Grid] = []

    def restart(self) -> None:
        """Forgets the solves so far, and their counts."""
        self.grids = []
        self.take_stats()

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        solution = super().solve(func, y0, t, params, events)
        grid, end = solution.steps.grid, float(t[-1])
        # A solve that an event has ended has no step to the end, which a grid must lead to.
        self.grids.append(grid if grid[-1] == end else [*grid, end])
        return solution


class ReplayIntegrator(Integrator):
    """An integrator whose n-th solve takes the n-th of the given grids, whatever the tolerance.

    Args:
        solver: of the solves that the grids come from.
        gradient: of the replay. An adjoint method that steps as the forward solve does adapts its
            backward steps as it did then.
        grids: the times of the steps of each solve.
    """

    def __init__(
        self, solver: SolverSettings, gradient: GradientMethod | str, grids: Sequence[Grid]
    ) -> None:
        super().__init__(solver, gradient)
        self.gradient = _with_own_steps(self.gradient, solver)
        self._grids = list(grids)
        self._next = 0

    def solve(
        self,
        func: Func,
        y0: State,
        t: Tensor,
        params: Sequence[Tensor] | None = None,
        events: Events | None = None,
    ) -> Solution:
        """As `Integrator.solve`, on the next grid.

        Raises:
            SymadjError: there are more solves than grids.
        """
        if self._next == len(self._grids):
            raise SymadjError(f"a replay of {self._next} solves met one more.")
        settings = on_grid(self.solver, self._grids[self._next])
        self._next += 1
        return solve_with(func, y0, t, settings, self.gradient, params, events)


def on_grid(solver: SolverSettings, grid: Grid) -> SolverSettings:
    """The settings with exactly these steps, whose equations are solved to `EXACT`."""
    free = {"step_size": None, "num_steps": None, "first_step": None, "step_t": ()}
    return dataclasses.replace(exact(solver), grid=tuple(grid), **free)


def exact(solver: SolverSettings) -> SolverSettings:
    """The settings with the equations of implicit steps solved to `EXACT`.

    Replays, which are in float64, show what a gradient method leaves out, and not the tolerance
    that Newton's method had in the solves that they repeat.
    """
    if solver.method not in IMPLICIT:
        return solver
    return dataclasses.replace(solver, newton_tol=EXACT)


EXACT = 1e-12
"""`newton_tol` of replays."""


def _with_own_steps(gradient: GradientMethod, solver: SolverSettings) -> GradientMethod:
    # The adjoint method's own accuracy is in question, not that of backward steps that it would
    # never have chosen.
    if not (isinstance(gradient, Adjoint) and gradient.options is None and solver.adaptive):
        return gradient
    return Adjoint(
        solver.rtol if gradient.rtol is None else gradient.rtol,
        solver.atol if gradient.atol is None else gradient.atol,
        gradient.method or solver.method,
        _options(solver),
        gradient.seminorm,
    )


def _options(solver: SolverSettings) -> dict[str, Any]:
    """The settings of adaptive steps as the options of a call."""
    named = ("method", "rtol", "atol", "first_step")
    fields = (field.name for field in dataclasses.fields(solver) if field.name not in named)
    options = {name: getattr(solver, name) for name in fields}
    return {name: value for name, value in options.items() if value is not None}


class DrawnAs(TorchFunctionMode):
    """Inside the block, random floating-point numbers are drawn in one dtype, then cast.

    The generators give other numbers in another dtype, so a calculation cannot be repeated in
    float64 on the same noise without this.

    Args:
        dtype: in which to draw.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _MAKE:
            like = args[0].dtype if func in _LIKE else torch.get_default_dtype()
            wanted = kwargs.get("dtype") or like
            if not wanted.is_floating_point:
                return func(*args, **kwargs)
            return func(*args, **{**kwargs, "dtype": self.dtype}).to(wanted)
        if func in _FILL and args[0].is_floating_point():
            drawn = func(torch.empty_like(args[0], dtype=self.dtype), *args[1:], **kwargs)
            return args[0].copy_(drawn)
        return func(*args, **kwargs)


_LIKE = (torch.randn_like, torch.rand_like)
_MAKE = (torch.randn, torch.rand, *_LIKE)
_FILL = (Tensor.normal_, Tensor.uniform_, Tensor.exponential_)
