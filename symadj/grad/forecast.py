"""Peak memory and work of each exact gradient method, predicted from one use of the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from symadj.grad.stores.revolve import recomputed_steps
from symadj.meters.live_bytes import StorageCounter
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.stats import SolveStats


@dataclass(frozen=True)
class Use:
    """What one use of the field takes, in bytes above the state, its cotangent and the parameters.

    Attributes:
        state: of the state.
        params: of the parameters' gradients.
        graph: what lives while the graph of an evaluation does, the value included.
        saved_state: whether the graph keeps the state at which it was made.
        saved_value: whether it keeps its value.
        product: the most that lives from the start of an evaluation with graph to the end of its
            vector-Jacobian product, the gradients included.
        stage: the most that lives while `Field.pull_back` does the same, its running sums left out.
    """

    state: int
    params: int
    graph: int
    saved_state: bool
    saved_value: bool
    product: int
    stage: int

    @staticmethod
    def trace(field: Field, t: float, y: Tensor) -> Use:
        """Makes three uses of the field; its counts stay as they were."""
        counted, field.stats = field.stats, SolveStats()
        try:
            with torch.no_grad(), field.phase("forward"):
                field.probe(t, y)
                cotangent = torch.ones_like(y)
                product = _peak_of(y.device, lambda: field.value_and_vjp(t, y, cotangent))
                sums = ParameterGradients(field.params)
                sums.add([torch.zeros_like(p) for p in field.params])
                stage = _peak_of(y.device, lambda: field.pull_back(t, y, cotangent, sums))
                graph, saved_state, saved_value = _graph_of(field, t, y)
        finally:
            field.stats = counted
        params = sum(p.nbytes for p in field.params)
        return Use(y.nbytes, params, graph, saved_state, saved_value, product, stage)

    @property
    def pull(self) -> int:
        """Work space of the product, above the graph that it uses up."""
        return max(0, self.product - self.graph)

    @property
    def in_a_chain(self) -> int:
        """What one of many uses adds to a graph, whose value went on into other states."""
        lost = 0 if self.saved_value else self.state
        return self.graph - lost + (self.state if self.saved_state else 0)


def _peak_of(device: torch.device, work: Callable[[], object]) -> int:
    """The most bytes that are live during some work, above those before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with StorageCounter() as counter:
        work()
    return counter.peak


def _graph_of(field: Field, t: float, y: Tensor) -> tuple[int, bool, bool]:
    """Bytes that live with a graph, whether it keeps the state, whether it keeps its value.

    Of what was there before (parameters, tensors that the field captures) the graph keeps no bytes
    of its own.
    """
    saved: set[int] = set()

    def see(tensor: Tensor) -> Tensor:
        saved.add(tensor.untyped_storage()._cdata)
        return tensor

    leaf = y.detach().requires_grad_()
    counter = StorageCounter()
    before = torch.cuda.memory_allocated(y.device) if y.is_cuda else 0
    with counter, torch.autograd.graph.saved_tensors_hooks(see, _as_it_is):
        k = field.traced(t, leaf)
    live = torch.cuda.memory_allocated(y.device) - before if y.is_cuda else counter.live
    return live, leaf.untyped_storage()._cdata in saved, k.untyped_storage()._cdata in saved


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


@dataclass(frozen=True)
class Solve:
    """What a forecast is about.

    Attributes:
        use: one use of the field.
        stages: s, uses of the field per step.
        steps: N.
        outputs: K, output times.
        uses_in_all: evaluations from which the end is made, each counted once; 0: N s.
        states: r, the states of the method, y and what it has besides: 1 of a Runge-Kutta method.
        uses_back: evaluations and products with which its steps are taken back; 0: they cannot be.
        at_once: solves whose backward pass is still to come while this one's runs, itself included:
            the components of a flow.
    """

    use: Use
    stages: int
    steps: int
    outputs: int
    at_once: int = 1
    uses_in_all: int = 0
    states: int = 1
    uses_back: int = 0


@dataclass(frozen=True)
class Forecast:
    """What a gradient method would take.

    Attributes:
        method: its name.
        store: what it keeps; "" where it has no choice.
        slots: of store="revolve".
        kept: bytes from the forward pass to the backward one.
        work: bytes beside them in the backward pass.
        evaluations: of the field, with and without graph, and vector-Jacobian products.
        peak: bytes of the forward and backward passes of all solves in hand.
    """

    method: str
    store: str
    slots: int | None
    kept: int
    work: int
    evaluations: int
    peak: int

    @property
    def label(self) -> str:
        """Method and store."""
        slots = f", {self.slots} slots" if self.slots else ""
        return f"{self.method}, {self.store}{slots}" if self.store else self.method


def forecasts(solve: Solve, memory: int) -> list[Forecast]:
    """All exact methods, the fewest evaluations first, among equals the least memory.

    With g the graph of one use, v the work space of its vector-Jacobian product, u the most of both
    where the graph is of no further use, S the state and P the parameters' gradients:

    | method | kept | backward |
    |---|---|---|
    | backprop | n g | v |
    | checkpoint | S | n g + v |
    | aca | (N + 1) S | s g + v + P |
    | symplectic, stages | N s S | u + P |
    | symplectic, steps | (N + 1) S | s S + u + P |
    | symplectic, revolve | (k + 1) S | s S + u + P |
    | reversible | 2 S | s S + u + P |

    with n = N s uses in all (a reversible method may share or add some, and keeps r states where a
    step's start is kept). One state is f(t0, y0), which the backward pass is compared with (a stage
    that is kept anyway with "stages"), and in each case there are the start, the K outputs, their
    cotangents and a few states.

    Args:
        solve: what is solved.
        memory: bytes; gives "revolve" as many slots as fit into it.
    """
    use, n, s = solve.use, solve.steps, solve.stages
    forward = solve.uses_in_all or n * s
    graphs = forward * use.in_a_chain
    one_step = s * (use.graph + (use.state if use.saved_state else 0))
    of_steps = use.params if n > 1 else 0
    symplectic = use.stage + use.params + 4 * use.state
    stages = (s - 1) * use.state

    def row(
        method: str,
        kept: int,
        work: int,
        backward: int,
        store: str = "",
        slots: int | None = None,
    ) -> Forecast:
        peak = _peak(solve, kept, work)
        return Forecast(method, store, slots, kept, work, forward + backward, peak)

    few, more = 3 * use.state, solve.states - 1
    starts = (n * solve.states + 1) * use.state
    rows = [
        row("backprop", graphs, use.pull + few, forward),
        row("checkpoint", use.state, graphs + use.pull + few, 2 * forward),
        row("aca", starts, one_step + use.pull + of_steps + few, 2 * n * s, "steps"),
        row("symplectic", n * (s + more) * use.state, symplectic, 2 * n * s, "stages"),
        row("symplectic", starts, symplectic + stages, n * (3 * s - 1), "steps"),
    ]
    if solve.uses_back:
        ends = 2 * solve.states * use.state
        rows.append(row("reversible", use.state + ends, symplectic + stages, solve.uses_back))
    if n > 2:
        slots = _slots(solve, memory, symplectic + stages)
        backward = n * (3 * s - 1) + s * recomputed_steps(n, slots)
        kept = (slots * solve.states + 1) * use.state
        rows.append(row("symplectic", kept, symplectic + stages, backward, "revolve", slots))
    return sorted(rows, key=lambda r: (r.evaluations, r.peak))


def _peak(solve: Solve, kept: int, work: int) -> int:
    """With what the solves in hand keep at the start, or what those that are done leave at the end.

    That is their kept states, or their parameters' gradients; and the outputs of all of them.
    """
    others = solve.at_once - 1
    return solve.at_once * _ends(solve) + others * max(kept, solve.use.params) + kept + work


def _slots(solve: Solve, memory: int, work: int) -> int:
    """The most slots, from 2 to N - 1, with which `_peak` is within `memory`; 2 for none."""
    room = memory - work - solve.at_once * _ends(solve)
    kept = min(room // solve.at_once, room - (solve.at_once - 1) * solve.use.params)
    slots = (kept // max(solve.use.state, 1) - 1) // solve.states
    return min(max(slots, 2), solve.steps - 1)


def _ends(solve: Solve) -> int:
    """The start, the outputs and their cotangents."""
    return (1 + 2 * solve.outputs) * solve.use.state
