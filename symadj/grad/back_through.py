"""How cotangents go back through a step of a general linear method, one use's graph at a time."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symadj.grad.base import Outputs
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.methods import Attempt
from symadj.ode.methods.general_linear import GeneralLinear, Inverse, Sum, weighted


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

    Stages that it lacks are evaluated without graph, then each one once more with it; the last one
    with graph alone, for no state is made of its value.
    """
    needed = solver.needed_stages([theta for theta, _ in outputs])
    solver.fill(field.value, attempt, needed[:-1])
    cotangents = StepCotangents(solver, attempt.h, cotangent, outputs)
    _pull_stages(field, solver, attempt, needed, cotangents, gradients)
    return cotangents.of_start()


def _pull_stages(
    field: Field,
    solver: GeneralLinear,
    attempt: Attempt,
    which: Sequence[int],
    cotangents: StepCotangents,
    gradients: ParameterGradients,
) -> None:
    """Pulls these stages back, from the last to the first, by the states at the step's start."""
    states, stages = attempt.y0.unbind(), cotangents.coefficients.stages
    for i in reversed(which):
        # Its value enters later stages only, and those are done.
        attempt.ks[i] = None
        w = cotangents.of_value(i)
        if w is not None:
            y = stages[i].value(states, attempt.ks)
            cotangents.add(i, field.pull_back(solver.time(attempt, i), y, w, gradients))


class _Use:
    """An evaluation that is to be pulled back: through its graph, or by the field itself.

    Attributes:
        k: its value.
        w: the cotangent of that, as far as it is known.
    """

    def __init__(self, field: Field, time: float, y: Tensor) -> None:
        self._at = time, y
        self._graph = field.graph_of(time, y) if field.keeps_graphs else None
        self.k = field.value(time, y) if self._graph is None else field.value_of(self._graph[1])
        self.w: Tensor | None = None

    def add(self, w: Tensor | None) -> None:
        """One more cotangent of its value, where there is one."""
        if w is not None:
            self.w = w if self.w is None else self.w + w

    def pull(self, field: Field, gradients: ParameterGradients) -> Tensor | None:
        """The cotangent of its state; None: nothing depends on it. The graph is gone then."""
        graph, self._graph = self._graph, None
        if self.w is None:
            return None
        if graph is None:
            return field.pull_back(*self._at, self.w, gradients)
        return field.pull_graph(*graph, self.w, gradients)


class WayBack:
    """Takes the steps of a solve back, from the last to the first, each from its end alone.

    A stage is evaluated with graph at once, and its graph is gone before the next evaluation, if
    all stages after it were; else without graph first. An evaluation that two steps share, one's
    end stage being the next one's first, is pulled back once, with the sum of what both have for
    it. So a part of asynchronous leapfrog and a step of reversible Heun take one evaluation, and of
    a coupled step, whose halves need their own values, all but one take two.

    Args:
        field: of the solve.
        solver: its method.
        gradients: which the parameters' gradients join.
    """

    def __init__(self, field: Field, solver: GeneralLinear, gradients: ParameterGradients) -> None:
        self.field = field
        self.solver = solver
        self.gradients = gradients
        self._shared: _Use | None = None

    def step(self, attempt: Attempt, cotangent: Tensor, outputs: Outputs) -> Tensor:
        """The cotangent of the states at a step's start, which `attempt` has from then on.

        What a shared first stage adds is not in it yet.

        Args:
            attempt: the step, with its end.
            cotangent: of the states there.
            outputs: (theta, cotangent) of the outputs inside the step.
        """
        assert attempt.y1 is not None
        field, solver, ends = self.field, self.solver, attempt.y1.unbind()
        cotangents = StepCotangents(solver, attempt.h, cotangent, outputs)
        inverse = cotangents.coefficients.inverse
        assert inverse is not None
        needed = solver.needed_stages([theta for theta, _ in outputs])
        at_once = _at_once(inverse, needed)
        for i in inverse.order:
            if i in at_once:
                self._pull(attempt, i, inverse.stages[i], ends, cotangents)
            elif i in needed:
                y = inverse.stages[i].value(ends, attempt.ks)
                attempt.ks[i] = field.value(solver.time(attempt, i), y)
        attempt.y0 = torch.stack([one.value(ends, attempt.ks) for one in inverse.starts])
        for i in at_once:
            attempt.ks[i] = None
        later = [i for i in needed if i not in at_once]
        _pull_stages(field, solver, attempt, later, cotangents, self.gradients)
        return cotangents.of_start()

    def _pull(
        self,
        attempt: Attempt,
        i: int,
        stage: Sum,
        ends: Sequence[Tensor],
        cotangents: StepCotangents,
    ) -> None:
        """Evaluates a stage and pulls it back, or leaves that to the step before, which has it too.

        The evaluation is that of the step after this one, if they share it.
        """
        use, self._shared = self._shared, None
        if use is None:
            y = stage.value(ends, attempt.ks)
            use = _Use(self.field, self.solver.time(attempt, i), y)
        attempt.ks[i] = use.k
        use.add(cotangents.of_value(i))
        if i == 0 and self.solver.end is not None:
            self._shared = use
            return
        mu = use.pull(self.field, self.gradients)
        if mu is not None:
            cotangents.add(i, mu)

    def finish(self, cotangent: Tensor) -> Tensor:
        """The cotangent of the states at the start, with what the first stage adds."""
        use, self._shared = self._shared, None
        mu = None if use is None else use.pull(self.field, self.gradients)
        if mu is None:
            return cotangent
        parts = list(cotangent.unbind())
        for p, weight in self.solver.coefficients(1.0).stages[0].states.items():
            parts[p] = parts[p] + weight * mu
        return torch.stack(parts)


def _at_once(inverse: Inverse, needed: Sequence[int]) -> set[int]:
    """The stages that are pulled back as soon as they are evaluated: all after them were."""
    found: set[int] = set()
    for i in inverse.order:
        if i in needed and all(j in found for j in needed if j > i):
            found.add(i)
    return found


def uses_back(solver: GeneralLinear, steps: int) -> int:
    """Evaluations and vector-Jacobian products with which so many steps are taken back."""
    inverse, needed = solver.coefficients(1.0).inverse, solver.needed_stages(())
    assert inverse is not None
    again = len(needed) - len(_at_once(inverse, needed))
    products = solver.uses_to_begin + steps * len(needed)
    if solver.end is not None:
        products -= steps - 1
    return steps * again + 2 * products
