"""What `symadj.ode.compiled` compiles, and what it has compiled so far."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from symadj.ode.contents import ChangedError, Contents
from symadj.ode.control import error_ratio
from symadj.ode.field import grad_or_none
from symadj.ode.layout import StateLayout
from symadj.ode.methods import RungeKutta
from symadj.ode.methods.linear import Terms
from symadj.ode.tracing import Graph
from symadj.threads import given_threads
from symadj.warn import warn

Plan = tuple[tuple[tuple[int, Terms | None], ...], Terms, tuple[Terms, ...]]
"""The wanted stages with their rows (None: the end of the step), the weights b, and those of the
error estimates."""

BackPlan = tuple[tuple[int, Terms, float | None, Terms], ...]
"""(stage, its row, its weight b_i, its column) of the stages, the last one first."""

# A field of fewer multiplications in one evaluation takes about as long to launch as to compute.
SMALL = 1 << 24

# Fields that differ in plain values, or in sizes, and are compiled each for itself.
MOST = 8


@functools.cache
def plan_of(solver: RungeKutta, judged: bool, rated: bool) -> Plan:
    """What an attempt needs, with the stages of the error estimate where it is judged.

    With the estimate's weights where its ratio is to be had, too.
    """
    wanted = set(solver.solution_stages)
    if judged:
        for weights in (solver.tableau.b_err, solver.tableau.b_err_low):
            wanted.update(solver.tableau.closure(weights) if weights else ())
    rows = ((i, None if i == solver.end else solver.rows[i]) for i in sorted(wanted - {0}))
    return tuple(rows), solver.b, solver.errors if rated else ()


@functools.cache
def back_plan_of(solver: RungeKutta) -> BackPlan:
    """The stages of which y1 is made, with what couples their adjoints."""
    stages = solver.needed_stages(())
    b = dict(solver.b)
    return tuple(
        (
            i,
            solver.rows[i],
            b.get(i),
            tuple((j, a) for j, a in solver.columns[i].items() if j in stages),
        )
        for i in reversed(stages)
    )


class Use:
    """A field as the functions below use it, on the tensors of one call.

    Args:
        func: the user's module.
        layout: of the state.
        params: which receive gradients.
        sums: of these gradients.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        layout: StateLayout,
        params: Sequence[Tensor],
        sums: Sequence[Tensor],
    ) -> None:
        self.func = func
        self.layout = layout
        self.params = params
        self.sums = sums

    def traced(self, t: Tensor, y: Tensor) -> Tensor:
        """f(t, y) with its graph."""
        layout = self.layout
        return layout.flatten(self.func(t.to(layout.time_dtype), layout.unflatten(y))).contiguous()

    def value(self, t: Tensor, y: Tensor) -> Tensor:
        """f(t, y)."""
        return self.traced(t, y.detach().requires_grad_()).detach()

    def pull(self, t: Tensor, y: Tensor, cotangent: Tensor) -> Tensor:
        """(df/dy)^T w; (df/dtheta)^T w is added to the sums in place."""
        leaf = y.detach().requires_grad_()
        k = self.traced(t, leaf)
        of_y, *of_params = grad_or_none([k], [leaf, *self.params], [cotangent])
        for total, gradient in zip(self.sums, of_params, strict=True):
            if gradient is not None:
                total.add_(gradient)
        return torch.zeros_like(y) if of_y is None else of_y.contiguous()


Traced = Callable[[Sequence[Tensor]], Sequence[Tensor]]

P = TypeVar("P")

Body = Callable[[Use, P, Sequence[Tensor], Sequence[Tensor]], list[Tensor]]
"""Results from a field, a plan, numbers (scalar tensors of float64) and states."""


def value(
    use: Use, plan: None, numbers: Sequence[Tensor], states: Sequence[Tensor]
) -> list[Tensor]:
    """f(t, y)."""
    return [use.value(numbers[0], states[0])]


def step(use: Use, plan: Plan, numbers: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
    """y1 and the wanted k_i at the times t_i, and the ratio where errors are estimated.

    The numbers are the times, h and, for the ratio, rtol and atol; the states y0 and k0.
    """
    rows, b, errors = plan
    h = numbers[len(rows)]
    y0, ks = states[0], {0: states[1]}
    y1 = None
    for t, (i, terms) in zip(numbers, rows, strict=False):
        state = _combined(y0, h, b if terms is None else terms, ks)
        if terms is None:
            y1 = state
        ks[i] = use.value(t, state)
    y1 = _combined(y0, h, b, ks) if y1 is None else y1
    results = [y1, *(ks[i] for i, _ in rows)]
    if errors:
        zero = torch.zeros_like(y0)
        estimates = [_combined(zero, h, terms, ks) for terms in errors]
        rtol, atol = numbers[-2:]
        results.append(error_ratio((rtol, atol), use.layout.rms, y0, y1, estimates))
    return results


def pull(use: Use, plan: None, numbers: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
    """(df/dy)^T w from t, y and w."""
    return [use.pull(numbers[0], *states)]


def pull_step(
    use: Use, plan: BackPlan, numbers: Sequence[Tensor], states: Sequence[Tensor]
) -> list[Tensor]:
    """The cotangent of y0 for one of y1, as `symadj.grad.Symplectic`; all stages in turn.

    The numbers are the times and h; the states the cotangent, y0 and the k_i that are needed.

    A compiler is free to hold what all stages need before it begins with one, or to leave their
    gradients to the end. `symadj::after` forbids it: the state that a stage begins with comes out
    of it, and what the one before has added to goes in.
    """
    *times, h = numbers
    cotangent, y0, *ks = states
    earlier = [i for i, *_ in reversed(plan[1:])]
    known, pulled = dict(zip(earlier, ks, strict=True)), dict[int, Tensor]()
    total = cotangent
    for t, (i, row, weight, column) in zip(times, plan, strict=True):
        state = _combined(y0, h, row, known)
        parts = [] if weight is None else [(h * weight) * cotangent]
        parts += [(h * a) * pulled[j] for j, a in column]
        w = functools.reduce(torch.add, parts)
        if pulled:
            state = torch.ops.symadj.after(state, use.sums)
        mu = pulled[i] = use.pull(t, state, w)
        total = total + mu
    return [total]


def _combined(y: Tensor, h: Tensor, terms: Terms, ks: dict[int, Tensor]) -> Tensor:
    for i, weight in terms:
        y = y + (h * weight) * ks[i]
    return y


def _after(tensor: Tensor, done: Sequence[Tensor]) -> Tensor:
    """A copy of the tensor, made when the other ones are there."""
    return tensor.clone()


_LIBRARY = torch.library.Library("symadj", "FRAGMENT")
_LIBRARY.define("after(Tensor tensor, Tensor[] done) -> Tensor")
_LIBRARY.impl("after", _after, "CompositeExplicitAutograd")
torch.library.register_fake("symadj::after", _after, lib=_LIBRARY)


class Functions:
    """These functions, compiled for one kind of field.

    Args:
        name: of the field, for messages.
        device: of the state.
        small: whether launching operations takes longer than they do. A step is then pulled back by
            one function, not by one for each stage: it takes several times as long to compile, and
            half as long to run.

    Attributes:
        seconds: spent on compiling in this process.
        made: the number of functions compiled in this process.
    """

    seconds = 0.0
    made = 0

    def __init__(self, name: str, device: torch.device, small: bool) -> None:
        self.name = name
        self.small = small
        self.given_up = False
        self._graphs: dict[Hashable, list[Graph]] = {}
        self._cases: dict[Hashable, Graph] = {}
        self._replayed = device.type == "cuda"
        # Threads would wait for each other longer than they work.
        self._on_one_thread = small and device.type == "cpu"
        self._options: dict[str, Any] = {"triton.cudagraphs": True} if self._replayed else {}
        if self._on_one_thread:
            # No Python between the kernels.
            self._options = {"cpp_wrapper": True}

    def graph(self, key: Hashable, function: Traced, tensors: Sequence[Tensor]) -> Graph | None:
        """The function for tensors of these sizes, compiled if need be; None: it cannot be.

        Sizes that have been others before are free from then on.
        """
        case = key, tuple(x.shape for x in tensors)
        if case not in self._cases and not self.given_up:
            graph = self._made(self._graphs.setdefault(key, []), function, tensors)
            if graph is not None:
                self._cases[case] = graph
        return self._cases.get(case)

    def _made(
        self, graphs: list[Graph], function: Traced, tensors: Sequence[Tensor]
    ) -> Graph | None:
        """One of these graphs, or a new one that joins them."""
        graph = next((one for one in graphs if one.fits(tensors)), None)
        if graph is not None:
            return graph
        if len(graphs) >= MOST:
            self.give_up("its state has other sizes at every call")
            return None
        dims = [
            [any(size != graph.sizes[i][d] for graph in graphs) for d, size in enumerate(x.shape)]
            for i, x in enumerate(tensors)
        ]
        started = time.perf_counter()
        try:
            with given_threads(1 if self._on_one_thread else None):
                graph = Graph(function, tensors, dims, self._options)
        except Exception as error:
            self.give_up(_reason(error))
            return None
        finally:
            Functions.seconds += time.perf_counter() - started
        Functions.made += 1
        graphs.append(graph)
        return graph

    def give_up(self, reason: str) -> None:
        """Nothing of these fields is compiled from now on; says so once."""
        if not self.given_up:
            self.given_up = True
            warn(
                f"compile=true: {self.name} is not compiled, because {reason}. It runs without "
                "compilation, which changes nothing but the time; leave out compile=true to "
                "silence this."
            )

    def run(self, graph: Graph, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The results of a graph."""
        if self._on_one_thread:
            with given_threads(1):
                return graph(tensors)
        results = graph(tensors)
        # A replayed CUDA graph writes into the memory of its last results.
        return [result.clone() for result in results] if self._replayed else results


_KNOWN: dict[Hashable, dict[Hashable, Functions]] = {}


def functions_of(
    func: Callable[..., Any], layout: StateLayout, contents: Contents, evaluate: Callable[[], Any]
) -> Functions:
    """Those of all fields of this class, dtype and device that hold the same but for tensors.

    Args:
        func: the field's module.
        layout: of its state.
        contents: of the module.
        evaluate: calls it once, where it is not yet known how large it is.
    """
    kind = type(func)
    sizes = tuple(x.shape for x in contents.tensors)
    small = _multiplications(kind, layout, sizes, evaluate) < SMALL
    ranks = tuple(map(len, layout.shapes))
    family = _KNOWN.setdefault((kind, small, ranks, layout.bare, layout.dtype, layout.device), {})
    key = contents.plain if contents.plain in family or len(family) < MOST else None
    if key not in family:
        family[key] = Functions(kind.__qualname__, layout.device, small)
        if key is None:
            family[key].give_up("it holds other values at every solve, to be compiled anew each")
    return family[key]


_MULTIPLICATIONS: dict[Hashable, int] = {}


def _multiplications(
    kind: type, layout: StateLayout, sizes: Hashable, evaluate: Callable[[], Any]
) -> int:
    """Those of one evaluation of such a field, in products and convolutions."""
    key = kind, layout.shapes, sizes
    if key not in _MULTIPLICATIONS:
        with _Multiplications() as counter:
            evaluate()
        _MULTIPLICATIONS[key] = counter.total
    return _MULTIPLICATIONS[key]


class _Multiplications(TorchDispatchMode):
    """Counts them by torch's formulas.

    torch's own counter hooks the inputs of all modules besides, which makes a field fail that calls
    `torch.autograd.grad` inside.
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        out = func(*args, **given)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **given, out_val=out) // 2
        return out


def _reason(error: Exception) -> str:
    if isinstance(error, ChangedError):
        return "it changes what it holds when it is called; does it keep its last value?"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"it cannot be traced ({type(error).__name__}: {lines[0] if lines else ''})"
