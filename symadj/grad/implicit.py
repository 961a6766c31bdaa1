"""How cotangents go back through an implicit Runge-Kutta step, one use's graph at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from symadj.grad.base import Outputs
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.linear_solvers import sum_of
from symadj.ode.methods import Attempt, Block, ImplicitRungeKutta
from symadj.ode.newton import Newton, Products, start_of


def pull_step(
    field: Field,
    solver: ImplicitRungeKutta,
    attempt: Attempt,
    cotangent: Tensor,
    outputs: Outputs,
    gradients: ParameterGradients,
    at_once: int,
) -> Tensor:
    """The cotangent of the step's start, by the symplectic partner of the method.

    With w_i the cotangent of k_i and mu_i = (df/dy (t_i, Y_i))^T w_i that of Y_i,

        r_i = h (b_i lambda_1 + sum_{j in later blocks} a_ji mu_j)
        w_i - h sum_{j in the block} a_ji mu_j = r_i
        theta-gradient += (df/dtheta (t_i, Y_i))^T w_i,    lambda_0 = lambda_1 + sum_i mu_i.

    The middle line is a linear system for the w_i, with the transposed matrix of the step's
    Newton iteration, but the exact Jacobian of every stage. Of its solution mu = A^-T (w - r) / h,
    in which the error of w is not multiplied by a stiff Jacobian. A cotangent g of an output
    inside the step adds h b_i(theta) g to r_i and g to lambda_0.

    Args:
        field: the field.
        solver: the method.
        attempt: the step's start, and stages that are known; the others are solved for again.
        cotangent: of the end.
        outputs: (theta, cotangent) of the outputs inside the step.
        gradients: which the parameters' gradients join.
        at_once: graphs of network uses that may be held at once; with fewer than a block has
            stages, a stage is evaluated with graph again for every product.
    """
    stages = solver.needed_stages([theta for theta, _ in outputs])
    solver.fill(field.value, attempt, stages)
    terms = [(dict(solver.b), cotangent)]
    terms += [(dict(solver.dense_terms(theta)), g) for theta, g in outputs]
    pulled: dict[int, Tensor] = {}
    total = cotangent
    for _, g in outputs:
        total = total + g
    for block in reversed(solver.blocks):
        if block.stages[0] not in stages:
            continue
        received = torch.stack(
            [
                _received(
                    cotangent,
                    attempt.h,
                    [(weights[i], g) for weights, g in terms if i in weights],
                    [(a, pulled[j]) for j, a in solver.columns[i].items() if j in pulled],
                )
                for i in block.stages
            ]
        )
        uses = _Uses(field, solver, attempt, block, hold=at_once >= len(block.stages))
        if block.explicit:
            pulled[block.stages[0]] = uses.finish(received, gradients)
        else:
            newton = cast(Newton, solver.solving)
            w = newton.solve_adjoint(block, start_of(attempt), uses.product, received)
            uses.finish(w, gradients)
            rest = ((w - received) / attempt.h).unbind()
            for i, weights in zip(block.stages, block.inverse_columns, strict=True):
                pulled[i] = sum_of(weights, rest)
        for i in block.stages:
            total = total + pulled[i]
    return total


def _received(
    like: Tensor,
    h: float,
    results: Sequence[tuple[float, Tensor]],
    stages: Sequence[tuple[float, Tensor]],
) -> Tensor:
    """h times the sum of weight times cotangent."""
    total = torch.zeros_like(like)
    for weight, g in (*results, *stages):
        total.add_(g, alpha=h * weight)
    return total


class _Uses:
    """The uses of the field by a block's stages.

    Args:
        field: the field.
        solver: the method.
        attempt: the step, with the block's stages and all before.
        block: the stages.
        hold: whether the graphs are made once, and not for every product.
    """

    def __init__(
        self,
        field: Field,
        solver: ImplicitRungeKutta,
        attempt: Attempt,
        block: Block,
        *,
        hold: bool,
    ) -> None:
        self.field = field
        self.points = [(solver.time(attempt, i), solver.state(attempt, i)) for i in block.stages]
        keep = hold and field.keeps_graphs and not block.explicit
        self.graphs = [field.graph_of(t, y) for t, y in self.points] if keep else None

    @property
    def product(self) -> Products:
        """(df/dy)^T v at the i-th stage."""
        if self.graphs is not None:
            return self._by_graph
        return self._anew if self.field.keeps_graphs else self._by_itself

    def finish(self, w: Tensor, gradients: ParameterGradients) -> Tensor:
        """(df/dtheta)^T w_i of all stages joins `gradients`; (df/dy)^T w of the last one."""
        of_y = w[-1]
        for i, (t, y) in enumerate(self.points):
            if self.graphs is None:
                of_y = self.field.pull_back(t, y, w[i], gradients)
            else:
                of_y = self.field.pull_graph(*self.graphs[i], w[i], gradients)
        self.graphs = None
        return of_y

    def _by_graph(self, i: int, v: Tensor) -> Tensor:
        assert self.graphs is not None
        return self.field.vjp_of_state(*self.graphs[i], v)

    def _anew(self, i: int, v: Tensor) -> Tensor:
        return self.field.vjp_of_state(*self.field.graph_of(*self.points[i]), v)

    def _by_itself(self, i: int, v: Tensor) -> Tensor:
        return self.field.pull_back(*self.points[i], v, ParameterGradients([]))
