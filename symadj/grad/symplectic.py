"""The symplectic adjoint method: exact gradients from one network use's graph at a time.

Matsubara, Miyatake, Yaguchi: "Symplectic Adjoint Method for Exact Gradient of Neural ODE with
Minimal Memory", NeurIPS 2021, arXiv:2102.09750.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from symadj.errors import IncompatibleError
from symadj.grad import back_through, implicit
from symadj.grad.base import Outputs, Replay, StepwiseReplay
from symadj.ode.engine import Step
from symadj.ode.field import Field, Graph
from symadj.ode.methods import Attempt, ImplicitRungeKutta, RungeKutta, explicit
from symadj.ode.methods.general_linear import GeneralLinear
from symadj.ode.methods.linear import Terms, terms_of, weighted_sum
from symadj.ranges import require


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

    Of a step whose stage derivatives are not kept, the last one is evaluated with graph at once,
    and not before without; `stages_at_once` = k does so with the last k. It saves k - 1 of a step's
    s - 1 evaluations without graph, and takes the memory of k graphs for that of one: k = s has the
    work of "stages" and the memory of ACA. A field that differentiates itself, and a compiled one,
    keeps no graph, so that there is nothing to save; of solvers with states beside y, one graph is
    held whatever k.

    Of an implicit method the stages are solved for again (or kept, by "stages"), and a w_i depends
    on mu_i, and those of stages solved together on each other: `symadj.grad.implicit` has the
    linear systems. With stages_at_once at least the number of those stages (2 or 3 of Gauss's and
    Radau's methods, else 1) each is evaluated with graph once; with fewer, for every product.

    Args:
        store: what is kept.
        slots: of store="revolve".
        offload: where it is kept: None, "cpu" or "disk".
        offload_dir: folder for offload="disk".
        stages_at_once: graphs of network uses that are held at once, at least 1.

    Raises:
        InputError: as `StoreOptions`.
        IncompatibleError: stages_at_once with store="stages", which has nothing to save.
    """

    name = "symplectic"
    per_sample = True
    compilable = True
    stores = ("steps", "stages", "revolve")

    def __init__(
        self,
        store: str = "steps",
        slots: int | None = None,
        offload: str | None = None,
        offload_dir: str | None = None,
        stages_at_once: int = 1,
    ) -> None:
        super().__init__(store, slots, offload, offload_dir)
        require("grad", stages_at_once=stages_at_once)
        if stages_at_once > 1 and store == "stages":
            raise IncompatibleError(
                f"stages_at_once={stages_at_once} with store=stages, which keeps what it would "
                "save; take store=steps or revolve, or leave it out."
            )
        self.stages_at_once = stages_at_once

    def __repr__(self) -> str:
        given = [self.keeping.given()]
        if self.stages_at_once > 1:
            given.append(f"stages_at_once={self.stages_at_once}")
        return f"{type(self).__name__}({', '.join(filter(None, given))})"

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
        if isinstance(solver, GeneralLinear):
            return back_through.pull_step(
                field, solver, attempt, cotangent, outputs, replay.gradients
            )
        if step.t0 == replay.problem.times[0]:
            field.expect(attempt.ks[0])
        if isinstance(solver, ImplicitRungeKutta):
            return implicit.pull_step(
                field, solver, attempt, cotangent, outputs, replay.gradients, self.stages_at_once
            )
        solver = explicit(solver, "gradient=symplectic")
        stages = solver.needed_stages([theta for theta, _ in outputs])
        sources = _sources(solver, cotangent, outputs)
        graphs = self._graphs(field, solver, attempt, stages)
        solver.fill(field.value, attempt, stages[:-1])
        if not (outputs or graphs):
            whole = field.pull_step(solver, attempt, cotangent, replay.gradients)
            if whole is not None:
                return whole
        pulled: list[Tensor | None] = [None] * solver.stages
        total = cotangent
        for _, g in outputs:
            total = total + g
        for i in reversed(stages):
            # Stage i's derivative enters later stages only, and those are done.
            attempt.ks[i] = None
            w = _cotangent_of_stage(solver, i, attempt.h, sources, pulled)
            if graphs:
                mu = field.pull_graph(*graphs.pop(), w, replay.gradients)
            else:
                time, state = solver.time(attempt, i), solver.state(attempt, i)
                solver.before(attempt, i)
                mu = field.pull_back(time, state, w, replay.gradients)
                del state
            # Else it would live on beside the next stage's.
            del w
            pulled[i] = mu
            total = total + mu
        return total

    def _graphs(
        self, field: Field, solver: RungeKutta, attempt: Attempt, stages: Sequence[int]
    ) -> list[Graph]:
        """The graphs of the stages that are evaluated with graph at once, the last one's last."""
        if self.stages_at_once == 1 or not field.keeps_graphs:
            return []
        graphs: list[Graph] = []

        def traced(t: float, y: Tensor) -> Tensor:
            graphs.append(field.graph_of(t, y))
            return field.value_of(graphs[-1][1])

        solver.fill(field.value, attempt, stages[: -self.stages_at_once])
        solver.fill(traced, attempt, stages)
        return graphs


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
