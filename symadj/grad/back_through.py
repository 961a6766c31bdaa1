"""How cotangents go back through a step of a general linear method, one use's graph at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.grad.base import Outputs
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.methods import Attempt
from symadj.ode.methods.general_linear import GeneralLinear, Sum, weighted


class StepCotangents:
    """The cotangents in one step, stage by stage from the last one on.

    With the step's weights (see `GeneralLinear`), cotangents g'_q of the states at the end and
    mu_j = (df/dy (t_j, Y_j))^T w_j of the later stages' states,

        w_i = h (sum_q b_qi g'_q + sum_{j>i} a_ji mu_j),    g_p = sum_q v_qp g'_q + sum_j u_jp mu_j

    is the symplectic partner of the step: the pair keeps sum_p g_p^T delta_p constant. An output
    inside the step is one more result with weights of its own.

    Args:
        solver: the method.
        h: length of the step.
        cotangent: of the states at the end.
        outputs: (theta, cotangent) of the outputs inside the step.
    """

    def __init__(
        self, solver: GeneralLinear, h: float, cotangent: Tensor, outputs: Outputs
    ) -> None:
        self.coefficients = solver.coefficients(h)
        self.states = solver.states
        self.sources: list[tuple[Sum, Tensor]] = [
            *zip(self.coefficients.ends, cotangent.unbind(), strict=True),
            *((solver.dense_sum(h, theta), g) for theta, g in outputs),
        ]

    def of_value(self, i: int) -> Tensor | None:
        """w_i; None: nothing depends on this stage."""
        terms = [(g, one.stages[i]) for one, g in self.sources if i in one.stages]
        return weighted(terms) if terms else None

    def add(self, i: int, mu: Tensor) -> None:
        """Takes mu_i."""
        self.sources.append((self.coefficients.stages[i], mu))

    def of_start(self) -> Tensor:
        """The cotangent of the states at the start."""
        of_states = []
        for p in range(self.states):
            terms = [(g, one.states[p]) for one, g in self.sources if p in one.states]
            of_states.append(weighted(terms) if terms else torch.zeros_like(self.sources[0][1]))
        return torch.stack(of_states)


def pull_step(
    field: Field,
    solver: GeneralLinear,
    attempt: Attempt,
    cotangent: Tensor,
    outputs: Outputs,
    gradients: ParameterGradients,
) -> Tensor:
    """The cotangent of the states at the step's start; `attempt` has that start.

    Stages that it lacks are evaluated without graph, then each one once more with it.
    """
    solver.fill(field.value, attempt)
    cotangents = StepCotangents(solver, attempt.h, cotangent, outputs)
    states, stages = attempt.y0.unbind(), cotangents.coefficients.stages
    for i in reversed(range(solver.stages)):
        # Its value enters later stages only, and those are done.
        attempt.ks[i] = None
        w = cotangents.of_value(i)
        if w is not None:
            y = stages[i].value(states, attempt.ks)
            cotangents.add(i, field.pull_back(solver.time(attempt, i), y, w, gradients))
    return cotangents.of_start()


def reverse_step(
    field: Field,
    solver: GeneralLinear,
    attempt: Attempt,
    cotangent: Tensor,
    outputs: Outputs,
    gradients: ParameterGradients,
) -> Tensor:
    """As `pull_step`, of an attempt that has its end alone; its start is reconstructed.

    Where the way back evaluates the stages from the last one to the first, each is evaluated once,
    with graph; else all of them without graph first.
    """
    assert attempt.y1 is not None
    ends = attempt.y1.unbind()
    cotangents = StepCotangents(solver, attempt.h, cotangent, outputs)
    inverse = cotangents.coefficients.inverse
    assert inverse is not None
    at_once = inverse.order == tuple(reversed(range(solver.stages))) and field.keeps_graphs
    for i in inverse.order:
        time, y = solver.time(attempt, i), inverse.stages[i].value(ends, attempt.ks)
        if not at_once:
            attempt.ks[i] = field.value(time, y)
            continue
        leaves, values = field.graph_of(time, y)
        attempt.ks[i] = field.value_of(values)
        w = cotangents.of_value(i)
        if w is not None:
            cotangents.add(i, field.pull_graph(leaves, values, w, gradients))
        del leaves, values
    attempt.y0 = torch.stack([one.value(ends, attempt.ks) for one in inverse.starts])
    if at_once:
        return cotangents.of_start()
    return pull_step(field, solver, attempt, cotangent, outputs, gradients)
