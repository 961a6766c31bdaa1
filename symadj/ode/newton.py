"""The equations of implicit steps, and of their adjoints, solved.

E. Hairer, G. Wanner: "Solving Ordinary Differential Equations II", IV.8.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError, NewtonError
from symadj.ode.control import error_scale, norm_of
from symadj.ode.field import Field, vjp
from symadj.ode.gmres import gmres
from symadj.ode.linear_solvers import (
    Direct,
    Linearisation,
    LinearSolver,
    corrected,
    solver_for,
    sum_of,
)
from symadj.ode.methods import Attempt, Block, Evaluate, ImplicitRungeKutta, Unsolved
from symadj.ode.methods.linear import combine
from symadj.ode.once import first_order_only
from symadj.ode.settings import SolverSettings
from symadj.ode.transforms import inside_transform

MAX_NEWTON = 20
RESTART = 40
KAPPA = 0.01
"""The tolerance of a step's equations in units of the step's own (IV.8 has 0.1 to 0.01)."""
_SLOW = 0.1
"""A rate of convergence that calls for a new Jacobian at the iterate."""
_STALE = 0.02
"""One that calls for a new Jacobian at the next step."""
_MANY_PRODUCTS = 10

Products = Callable[[int, Tensor], Tensor]
"""(df/dy)^T v at the i-th stage of a block."""

Start = tuple[float, Tensor, float]
"""t0, y0 without graph, and h, of a step."""


def start_of(attempt: Attempt) -> Start:
    """That of this one."""
    return attempt.t0, attempt.y0.detach(), attempt.h


class Newton:
    """Simplified Newton iterations on the values k_i of a block of stages:

        r_i = f(t_i, y0 + h sum_j a_ij k_j) - k_i,    (I - h A x J) dk = r,    k <- k + dk

    J is that of one state for all stages, and kept, with its factors, for as long as the iterations
    converge well: where the norm of dk falls by less than a factor of 10 it is taken anew at the
    iterate, where by less than 50 at the start of the next step. With theta the ratio of successive
    norms of h A dk, in units of the tolerance, the iteration ends where theta / (1 - theta) times
    the norm is at most 1, after two corrections at least; or where these are rounding.

    Where stages that are solved together converge slowly with a J taken at the iterate, so that one
    for all of them does not do, each has its own: GMRES, preconditioned by the factors, with exact
    products. The iteration begins with the values of the stage before, or those that the last
    step's collocation polynomial continues to; where that does not converge, once more with a J
    taken there, and once with zeros.

    The linear systems of the adjoint, with the transposed Jacobians of every stage, are solved by
    GMRES, preconditioned by the transposed factors, with exact vector-Jacobian products.

    Args:
        field: the field.
        settings: of the solve.

    Raises:
        InputError: a state of 16 bits, or a complex one.
    """

    def __init__(self, field: Field, settings: SolverSettings) -> None:
        dtype = field.layout.dtype
        if dtype.is_complex or dtype.itemsize < 4:
            raise InputError(
                f"method={settings.method} with a state of {dtype}: an implicit method solves "
                "linear systems, for real states of float32 or float64. Convert y0, of complex "
                "numbers by torch.view_as_real, or take an explicit method such as dopri5."
            )
        self.field = field
        self.settings = settings
        self.norm = norm_of(settings, field.layout)
        self.most = settings.max_newton or MAX_NEWTON
        self.restart = settings.gmres_restart or RESTART
        unit = settings.rtol or settings.atol
        rounding = 10 * torch.finfo(dtype).eps
        self.relative = max(settings.newton_tol or KAPPA * unit, rounding)
        # Without tolerances, which fixed steps need not have, as exactly as rounding allows.
        self.tolerances = settings.tolerances if unit else (1.0, 0.0)
        self.factor = self.relative / (unit or 1.0)
        self.adjoint_tolerance = max(0.1 * self.relative, rounding)
        self.linear: LinearSolver | None = None
        self.release()

    def release(self) -> None:
        """As `StageSolver.release`."""
        if self.linear is not None:
            self.linear.release()
        self.stale = False
        self._at: float | None = None
        self._known: _Known | None = None

    def solve(
        self, method: ImplicitRungeKutta, evaluate: Evaluate, attempt: Attempt, block: Block
    ) -> Sequence[Tensor]:
        """As `StageSolver.solve`."""
        graph = torch.is_grad_enabled()
        if graph and inside_transform(attempt.y0):
            raise IncompatibleError(
                f"method={method.name} inside a transform of torch.func (grad, vjp, jacrev, jvp, "
                "...) or in forward mode, which cannot see into its equations. Use "
                "torch.autograd.grad."
            )
        with torch.no_grad():
            plain = self.field.value if graph else evaluate
            system = _System(method, attempt, block)
            ks = self._found(plain, system)
            self._known = _Known(attempt.t0, attempt.h, [method.nodes[i] for i in block.stages], ks)
        if not graph:
            return ks.unbind()
        return self._with_graph(evaluate, _System(method, attempt, block), ks)

    def _found(self, evaluate: Evaluate, system: _System) -> Tensor:
        attempt, guess = system.attempt, self._guess(system)
        linear = self._ready(attempt.t0, attempt.y0)
        middle = len(system.times) // 2
        with contextlib.suppress(Unsolved):
            return self._iterate(evaluate, system, linear, guess)
        self._linearise(system.times[middle], system.states(guess)[middle])
        with contextlib.suppress(Unsolved):
            return self._iterate(evaluate, system, linear, guess)
        self._linearise(attempt.t0, attempt.y0)
        self._at = attempt.t0
        zeros = torch.zeros_like(guess)
        return self._iterate(evaluate, system, linear, zeros, most_growth=math.inf)

    def _ready(self, t: float, y: Tensor) -> LinearSolver:
        """The linear solver, with a Jacobian."""
        if self.linear is None:
            name = self.settings.linear_solver or "auto"
            self.linear = solver_for(self.field, name, self.restart, t, y)
        if not self.linear.linearised or (self.stale and self._at != t):
            self._linearise(t, y)
            self._at = t
        return self.linear

    def _linearise(self, t: float, y: Tensor) -> None:
        assert self.linear is not None
        self.linear.linearise(t, y.detach())
        self.stale, self._at = False, None

    def _guess(self, system: _System) -> Tensor:
        """Values to begin with."""
        if len(system.block.stages) == 1:
            i, ks = system.block.stages[0], system.attempt.ks
            if i > 0 and (before := ks[i - 1]) is not None:
                return before.detach().unsqueeze(0)
        known = self._known
        if known is None or len(known.nodes) != len(system.block.stages):
            return torch.zeros_like(system.bases)
        return torch.stack([known.at(t) for t in system.times])

    def _iterate(
        self,
        evaluate: Evaluate,
        system: _System,
        linear: LinearSolver,
        ks: Tensor,
        most_growth: float = 2.0,
    ) -> Tensor:
        """The values of the block's stages.

        Args:
            evaluate: the field, without graph.
            system: the equations.
            linear: the linear solver, with a Jacobian.
            ks: the values to begin with.
            most_growth: the largest ratio of a correction to the one before.

        Raises:
            Unsolved: the iteration does not converge.
        """
        y0, h = system.attempt.y0, system.attempt.h
        scale = error_scale(self.tolerances, y0, y0).mul_(self.factor)
        # With atol=0 an entry that is zero would have to be exact.
        typical = torch.linalg.vector_norm(y0) / max(y0.numel(), 1) ** 0.5
        info = torch.finfo(y0.dtype)
        scale = torch.maximum(scale, (info.eps * typical).clamp_min(info.tiny))
        n, before, size, worst = 0, math.nan, math.inf, 0.0
        s, renewed = len(system.block.stages), 0
        for n in range(self.most):
            states = system.states(ks)
            values = [evaluate(t, y) for t, y in zip(system.times, states, strict=True)]
            self.field.stats.newton_iterations += 1
            rest = torch.stack(values) - ks
            if s > 1 and renewed > 1:
                points = zip(system.times, states, strict=True)
                at = [Linearisation(self.field, t, y) for t, y in points]
                near = linear if isinstance(linear, Direct) else None
                step = corrected(at, system.block, h, rest, self.restart, near)
            else:
                step = linear.solve(system.block, h, rest)
            ks = ks + step
            moves = system.moves(step)
            size = float(torch.stack([self.norm(move / scale) for move in moves]).amax())
            if not math.isfinite(size):
                break
            if size == 0:
                return ks
            # The first correction has no rate, and that of an earlier solve says too little of it:
            # by a Jacobian that is old, a correction can be small and wrong.
            if n == 0:
                before = size
                continue
            rate, within = size / before, max(size, before) <= 1
            worst, before = max(worst, rate), size
            if within or (rate < 1 and rate / (1 - rate) * size <= 1):
                self.stale = self.stale or worst > _STALE
                return ks
            if rate > _SLOW:
                ends = system.states(ks)
                if rate > 0.5 and _rounding(moves, ends):
                    return ks
                if rate > most_growth:
                    break
                if renewed < 2 or s == 1:
                    self._linearise(system.times[s // 2], ends[s // 2])
                renewed += 1
        raise Unsolved(
            f"Newton's method did not solve the equations of a step of {system.method.name}: after "
            f"{n + 1} iterations (max_newton={self.most}) the last correction is "
            f"{size * self.relative:.2g}, relative to the state, and newton_tol="
            f"{self.relative:.2g}"
        )

    def _with_graph(self, evaluate: Evaluate, system: _System, ks: Tensor) -> Sequence[Tensor]:
        """The values as functions of all that the equations depend on."""
        states = [
            # A leaf of its own, where the state depends on nothing that needs a gradient.
            y if y.requires_grad else y + y.new_zeros(()).requires_grad_()
            for y in system.states(ks)
        ]
        values = [evaluate(t, y) for t, y in zip(system.times, states, strict=True)]
        # Not the attempt itself, whose stages would hold on to the node, and it to them.
        adjoint = _Adjoint(self, system.block, start_of(system.attempt))
        return _Solved.apply(adjoint, ks, *values, *states).unbind()

    def solve_adjoint(self, block: Block, start: Start, products: Products, rhs: Tensor) -> Tensor:
        """The w of (I - h A^T x J_i^T) w = r, for the transposed Jacobians J_i^T of every stage.

        Args:
            block: the stages.
            start: of the step.
            products: J_i^T v.
            rhs: r, [s, *y].

        Raises:
            NewtonError: it was not found.
        """
        t0, y0, h = start
        linear = self._ready(t0, y0)
        stats = self.field.stats

        def apply(w: Tensor) -> Tensor:
            stats.linear_products += len(block.stages)
            pulled = [products(i, one) for i, one in enumerate(w)]
            return torch.stack(
                [
                    torch.sub(one, sum_of(terms, pulled), alpha=h)
                    for one, terms in zip(w, block.columns, strict=True)
                ]
            )

        solved = gmres(
            apply,
            rhs,
            tolerance=self.adjoint_tolerance,
            restart=self.restart,
            precondition=lambda r: linear.solve(block, h, r, transposed=True),
        )
        self.stale = self.stale or solved.products > _MANY_PRODUCTS
        if not solved.residual <= max(1e3 * self.adjoint_tolerance, 1e-3 * self.relative):
            raise NewtonError(
                f"GMRES did not solve the adjoint equations of a step: after {solved.products} "
                f"products the residual is {solved.residual:.2g} of the right-hand side, and "
                f"{self.adjoint_tolerance:.2g} is asked for. Take linear_solver=dense, a larger "
                "gmres_restart or newton_tol, or shorter steps",
                phase="backward",
                t=t0,
                h=h,
                steps=stats.accepted,
                rejects=stats.rejected,
                largest=float(y0.abs().amax()),
            )
        return solved.x

    def filtered(self, attempt: Attempt, g: float, error: Tensor) -> Tensor:
        """As `StageSolver.filtered`."""
        with torch.no_grad():
            linear = self._ready(attempt.t0, attempt.y0.detach())
            return linear.solve(Block.single(g), attempt.h, error.detach().unsqueeze(0))[0]


class _System:
    """The equations of a block of one step."""

    def __init__(self, method: ImplicitRungeKutta, attempt: Attempt, block: Block) -> None:
        self.method = method
        self.attempt = attempt
        self.block = block
        self.times = [method.time(attempt, i) for i in block.stages]
        self.bases = torch.stack(
            [combine(attempt.y0, attempt.h, terms, attempt.ks) for terms in block.before]
        )

    def states(self, ks: Tensor) -> list[Tensor]:
        """The Y_i of these values."""
        moves = self.moves(ks)
        return [base + move for base, move in zip(self.bases, moves, strict=True)]

    def moves(self, ks: Tensor) -> list[Tensor]:
        """h A k."""
        return [sum_of(terms, ks.unbind()) * self.attempt.h for terms in self.block.terms]


@dataclass(frozen=True)
class _Known:
    """The values of a block that was solved, as a polynomial in time."""

    t0: float
    h: float
    nodes: Sequence[float]
    ks: Tensor

    def at(self, t: float) -> Tensor:
        """The polynomial through the values; far away the last value."""
        theta = (t - self.t0) / self.h
        if len(self.nodes) == 1 or not -2 <= theta <= 3:
            return self.ks[-1]
        weights = [
            math.prod((theta - c) / (own - c) for c in self.nodes if c != own) for own in self.nodes
        ]
        return sum_of(tuple(enumerate(weights)), self.ks.unbind())


def _rounding(moves: Sequence[Tensor], states: Sequence[Tensor]) -> bool:
    """Whether a correction that no longer falls is one of rounding."""
    eps = torch.finfo(moves[0].dtype).eps
    return all(
        bool(torch.linalg.vector_norm(move) <= 16 * eps * torch.linalg.vector_norm(state))
        for move, state in zip(moves, states, strict=True)
    )


@dataclass(frozen=True)
class _Adjoint:
    """What the node of a solved block needs for its backward pass."""

    newton: Newton
    block: Block
    start: Start


class _Solved(torch.autograd.Function):
    """k as a function of all behind f, by the implicit function theorem.

    From k_i = f(t_i, Y_i(k)) follows (I - h A x J) dk = dF, where dF is the change of the values
    at fixed k. So the cotangents of the values are the w of (I - h A^T x J^T) w = g.
    """

    @staticmethod
    def forward(ctx: Any, adjoint: _Adjoint, ks: Tensor, *tensors: Tensor) -> Tensor:
        ctx.adjoint = adjoint
        ctx.save_for_backward(*tensors)
        return ks.view_as(ks)

    @staticmethod
    @first_order_only
    def backward(ctx: Any, cotangent: Tensor) -> tuple[Tensor | None, ...]:
        adjoint: _Adjoint = ctx.adjoint
        s = len(adjoint.block.stages)
        values, states = ctx.saved_tensors[:s], ctx.saved_tensors[s:]

        def product(i: int, v: Tensor) -> Tensor:
            return vjp([values[i]], [states[i]], [v], retain_graph=True)[0]

        w = adjoint.newton.solve_adjoint(adjoint.block, adjoint.start, product, cotangent)
        return None, None, *w.unbind(), *([None] * s)
