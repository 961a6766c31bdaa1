"""The functions of tensors that `symadj.ode.compiled` has compiled, and their compilation."""

from __future__ import annotations

import functools
import time
import types
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from symadj.ode.layout import StateLayout
from symadj.ode.methods import RungeKutta
from symadj.ode.methods.linear import Terms
from symadj.threads import given_threads
from symadj.warn import warn

Func = Callable[..., Any]

Plan = tuple[tuple[tuple[int, Terms | None], ...], Terms]
"""The wanted stages with their rows (None: the end of the step) and the weights b."""

BackPlan = tuple[tuple[int, Terms, float | None, Terms], ...]
"""(stage, its row, its weight b_i, its column) of the stages, the last one first."""

# A field of fewer multiplications in one evaluation (parameters times points) takes about as long
# to launch as to compute: the default flow of digits is one, which takes 20 % less time compiled;
# a toy's, an eighth as large, takes half.
SMALL = 1 << 23


@functools.cache
def plan_of(solver: RungeKutta, adaptive: bool) -> Plan:
    """What an attempt needs, with the error estimate's stages where steps are adaptive."""
    wanted = set(solver.solution_stages)
    if adaptive:
        for weights in (solver.tableau.b_err, solver.tableau.b_err_low):
            wanted.update(solver.tableau.closure(weights) if weights else ())
    rows = ((i, None if i == solver.end else solver.rows[i]) for i in sorted(wanted - {0}))
    return tuple(rows), solver.b


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


def _value(func: Func, layout: StateLayout, t: Tensor, y: Tensor) -> Tensor:
    """f(t, y)."""
    return layout.flatten(func(t, layout.unflatten(y)))


def _step(
    func: Func, layout: StateLayout, plan: Plan, t: Tensor, h: Tensor, y0: Tensor, k0: Tensor
) -> list[Tensor]:
    """y1 and the wanted k_i at the times t_i."""
    rows, b = plan
    ks: dict[int, Tensor] = {0: k0}
    y1: Tensor | None = None
    for n, (i, terms) in enumerate(rows):
        state = _combined(y0, h, b if terms is None else terms, ks)
        if terms is None:
            y1 = state
        ks[i] = _value(func, layout, t[n], state)
    y1 = _combined(y0, h, b, ks) if y1 is None else y1
    return [y1, *(ks[i] for i, _ in rows)]


def _combined(y: Tensor, h: Tensor, terms: Terms, ks: dict[int, Tensor]) -> Tensor:
    for i, weight in terms:
        y = y + (h * weight) * ks[i]
    return y


def _pull(
    func: Func,
    layout: StateLayout,
    t: Tensor,
    y: Tensor,
    cotangent: Tensor,
    names: Sequence[str],
    params: Sequence[Tensor],
    sums: Sequence[Tensor],
) -> Tensor:
    """(df/dy)^T w; (df/dtheta)^T w is added to the sums in place."""

    def f(y: Tensor, params: Sequence[Tensor]) -> Tensor:
        given = dict(zip(names, params, strict=True))
        k = functional_call(cast(nn.Module, func), given, (t, layout.unflatten(y)))
        return layout.flatten(k)

    back = vjp(f, y, params)[1]
    of_y, of_params = back(cotangent)
    for total, gradient in zip(sums, of_params, strict=True):
        total.add_(gradient)
    return of_y


def _pull_step(
    func: Func,
    layout: StateLayout,
    plan: BackPlan,
    t: Tensor,
    h: Tensor,
    y0: Tensor,
    ks: Sequence[Tensor | None],
    cotangent: Tensor,
    names: Sequence[str],
    params: Sequence[Tensor],
    sums: Sequence[Tensor],
) -> Tensor:
    """The cotangent of y0 for one of y1, as `symadj.grad.Symplectic`; all stages in turn.

    A compiler is free to hold what all stages need before it begins with one, or to leave their
    gradients to the end. `symadj::after` forbids it: what a stage begins with comes out of it, and
    what the one before has added to goes in.
    """
    known: dict[int, Tensor] = {i: k for i, k in enumerate(ks) if k is not None}
    pulled: dict[int, Tensor] = {}
    total = cotangent
    for n, (i, row, weight, column) in enumerate(plan):
        state = _combined(y0, h, row, known)
        parts = [] if weight is None else [(h * weight) * cotangent]
        parts += [(h * a) * pulled[j] for j, a in column]
        t_i, w = t[n], functools.reduce(torch.add, parts)
        if pulled:
            t_i, state, w = torch.ops.symadj.after([t_i, state, w], sums)
        mu = pulled[i] = _pull(func, layout, t_i, state, w, names, params, sums)
        total = total + mu
    return total


def _after(tensors: Sequence[Tensor], done: Sequence[Tensor]) -> list[Tensor]:
    """Copies of the tensors, made when the other ones are there."""
    return [tensor.clone() for tensor in tensors]


_LIBRARY = torch.library.Library("symadj", "FRAGMENT")
_LIBRARY.define("after(Tensor[] tensors, Tensor[] done) -> Tensor[]")
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
    """

    seconds = 0.0

    def __init__(self, name: str, device: torch.device, small: bool) -> None:
        self.name = name
        self.small = small
        self.given_up = False
        self.ready: set[str] = set()
        self._replayed = device.type == "cuda"
        # Threads would wait for each other longer than they work.
        self._on_one_thread = small and device.type == "cpu"
        how: dict[str, Any] = {"mode": "reduce-overhead" if device.type == "cuda" else "default"}
        if self._on_one_thread:
            # No Python between the kernels.
            how = {"options": {"cpp_wrapper": True}}
        # Each has a code object of its own: torch bounds the number of variants of one.
        self._compiled: dict[str, Callable[..., Any]] = {
            name: torch.compile(_copy_of(function), fullgraph=True, dynamic=False, **how)
            for name, function in (
                ("value", _value),
                ("step", _step),
                ("pull", _pull),
                ("pull_step", _pull_step),
            )
        }

    def run(self, name: str, *arguments: Any) -> Any:
        """The function's result, or None where it is not compiled."""
        if self.given_up:
            return None
        if name in self.ready:
            try:
                return self._called(name, arguments)
            except _compiler_errors() as error:
                # It has changed into something that must be compiled anew, once too often.
                self.give_up(_reason(error))
                return None
        started = time.perf_counter()
        try:
            result = self._called(name, arguments)
        except _compiler_errors() as error:
            self.give_up(_reason(error))
            return None
        finally:
            Functions.seconds += time.perf_counter() - started
        self.ready.add(name)
        return result

    def give_up(self, reason: str) -> None:
        """Nothing of these fields is compiled from now on; says so once."""
        if not self.given_up:
            self.given_up = True
            warn(
                f"compile=true: {self.name} is not compiled, because {reason}. It runs without "
                "compilation, which changes nothing but the time; leave out compile=true to "
                "silence this."
            )

    def _called(self, name: str, arguments: tuple[Any, ...]) -> Any:
        function = self._compiled[name]
        if self._on_one_thread:
            with given_threads(1):
                return function(*arguments)
        result = function(*arguments)
        if not self._replayed:
            return result
        # A replayed CUDA graph writes into the memory of its last results.
        if isinstance(result, Tensor):
            return result.clone()
        return [tensor.clone() for tensor in result]


_KNOWN: dict[Hashable, Functions] = {}


def functions_of(func: Func, layout: StateLayout, params: Sequence[Tensor]) -> Functions:
    """Those of all fields of this class, these shapes, dtype and device."""
    kind = type(func)
    key = (kind, layout, tuple((p.shape, p.dtype) for p in params))
    if key not in _KNOWN:
        points = layout.shapes[0][0] if layout.shapes[0] else 1
        small = points * sum(p.numel() for p in params) < SMALL
        _KNOWN[key] = Functions(kind.__qualname__, layout.device, small)
    return _KNOWN[key]


def _copy_of(function: Any) -> Any:
    return types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, closure=None
    )


def _compiler_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo import exc
    from torch._inductor.exc import InductorError

    # Older versions of torch have no type of its own for too many recompilations.
    limit = getattr(exc, "FailOnRecompileLimitHit", exc.TorchDynamoException)
    return exc.TorchDynamoException, InductorError, limit


def _reason(error: Exception) -> str:
    if "RecompileLimit" in type(error).__name__:
        return "it is another one at every call, to be compiled anew; does it count its calls?"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"torch.compile refuses it ({type(error).__name__}: {lines[0] if lines else ''})"
