"""The symplectic adjoint method: exact gradients from one network use's graph at a time.

Matsubara, Miyatake, Yaguchi: "Symplectic Adjoint Method for Exact Gradient of Neural ODE with
Minimal Memory", NeurIPS 2021, arXiv:2102.09750.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from symadj.grad.base import Outputs, Replay, StepwiseReplay
from symadj.ode.engine import Step
from symadj.ode.methods import Attempt, RungeKutta
from symadj.ode.methods.linear import Terms, terms_of, weighted_sum


class Symplectic(StepwiseReplay):
    """Solves the adjoint equation with the symplectic partner of the forward method.

    For a step y1 = y0 + h sum_i b_i k_i with stages Y_i, the adjoint's Runge-Kutta method is the
    one that keeps lambda^T delta constant along with the forward one. In a form free of divisions
    by b_i it reads, for i = s, ..., 1,

        w_i  = h (b_i lambda_1 + sum_{j>i} a_ji mu_j)
        mu_i = (df/dy (t_i, Y_i))^T w_i,       theta-gradient += (df/dtheta (t_i, Y_i))^T w_i
        lambda_0 = lambda_1 + sum_i mu_i.

    A cotangent g of an output inside the step, y(theta) = y0 + h sum_i b_i(theta) k_i, adds
    h b_i(theta) g to w_i and g to lambda_0.

    Backward, one step at a time: its stage derivatives are recomputed without graph, then each
    stage takes one evaluation with graph and one vector-Jacobian product, and its graph is gone
    before the next. Memory: s states and one network use, and what is kept between forward and
    backward, by `store`:

    - "steps": y0 of every accepted step, N states, 4NsL evaluations' worth of work (the paper's);
    - "stages": also the stage derivatives, N s states in all; none is recomputed, 3NsL;
    - "revolve": at most `slots` states, whatever N; steps are recomputed.

    Args:
        store: what is kept.
        slots: of store="revolve".
        offload: where it is kept: None, "cpu" or "disk".
        offload_dir: folder for offload="disk".

    Raises:
        InputError: as `StoreOptions`.
    """

    name = "symplectic"
    compilable = True
    stores = ("steps", "stages", "revolve")

    def pull_step(
        self,
        replay: Replay,
        step: Step,
        attempt: Attempt,
        cotangent: Tensor,
        outputs: Outputs,
    ) -> Tensor:
        """As in the class's formula."""
        field, solver = replay.field, replay.problem.solver
        if step.t0 == replay.problem.times[0]:
            field.expect(attempt.ks[0])
        stages = solver.needed_stages([theta for theta, _ in outputs])
        sources = _sources(solver, cotangent, outputs)
        solver.fill(field.value, attempt, stages[:-1])
        if not outputs:
            whole = field.pull_step(solver, attempt, cotangent, replay.gradients)
            if whole is not None:
                return whole
        pulled: list[Tensor | None] = [None] * len(solver.rows)
        total = cotangent
        for _, g in outputs:
            total = total + g
        for i in reversed(stages):
            # Stage i's derivative enters later stages only, and those are done.
            attempt.ks[i] = None
            w = _cotangent_of_stage(solver, i, attempt.h, sources, pulled)
            time, state = solver.time(attempt, i), solver.state(attempt, i)
            solver.before(attempt, i)
            mu = field.pull_back(time, state, w, replay.gradients)
            # Else they would live on beside the next stage's.
            del w, state
            pulled[i] = mu
            total = total + mu
        return total


Source = tuple[dict[int, float], Tensor]
"""The weights with which a result of the step depends on its stages, and its cotangent."""


def _sources(solver: RungeKutta, cotangent: Tensor, outputs: Outputs) -> list[Source]:
    """What a step's stages receive cotangents from."""
    terms: list[tuple[Terms, Tensor]] = [(solver.b, cotangent)]
    terms += [(solver.dense_terms(theta), g) for theta, g in outputs]
    return [(dict(t), g) for t, g in terms]


def _cotangent_of_stage(
    solver: RungeKutta,
    i: int,
    h: float,
    sources: Sequence[Source],
    pulled: Sequence[Tensor | None],
) -> Tensor:
    """w_i = h (sum over results of weight_i g + sum over later stages of a_ji mu_j)."""
    weights: list[float] = []
    tensors: list[Tensor] = []
    for of_stage, g in sources:
        if i in of_stage:
            weights.append(of_stage[i])
            tensors.append(g)
    for j, a_ji in solver.columns[i].items():
        mu = pulled[j]
        if mu is not None:
            weights.append(a_ji)
            tensors.append(mu)
    return weighted_sum(h, terms_of(weights), tensors)
