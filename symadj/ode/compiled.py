"""Fields whose evaluations, steps and pull-backs are compiled by torch.compile.

Compiled are three functions of tensors: one evaluation, the stages of one step, and the pull-back
of one stage; never a whole backward step, whose stages the compiler would interleave, so that more
than one of their graphs were held at once. Times and step sizes are tensors: new ones compile
nothing anew. The compiler's own cache on disk serves later processes.
"""

from __future__ import annotations

import functools
import time
import types
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp

from symadj.ode.field import Evaluate, Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.layout import StateLayout
from symadj.ode.linear import Terms
from symadj.solvers import Attempt, RungeKutta
from symadj.solvers.runge_kutta import Observe

Func = Callable[..., Any]


def compile_seconds() -> float:
    """Seconds that this process has spent on compiling so far, first runs included."""
    return _Functions.seconds


class CompiledField(Field):
    """A `Field` that is a module, with its evaluations and pull-backs compiled.

    What cannot be compiled runs as it would without, after a warning that says why.
    """

    def __init__(
        self, func: Callable[..., Any], layout: StateLayout, params: Sequence[Tensor] = ()
    ) -> None:
        super().__init__(func, layout, params)
        self.functions = _functions(func, layout, self.params)
        self._own: tuple[tuple[str, ...], list[Tensor]] | None = None
        self._sums: tuple[ParameterGradients, list[Tensor | None]] | None = None
        if not isinstance(func, nn.Module):
            self.functions.give_up("it is no torch.nn.Module")
        elif self._autocast[2]:
            self.functions.give_up("it runs under autocast")

    def value(self, t: float, y: Tensor) -> Tensor:
        """As `Field.value`."""
        k = self._run("value", self._time(t), y.detach())
        if k is None:
            return super().value(t, y)
        self.count(1)
        return k

    def pull_back(
        self, t: float, y: Tensor, cotangent: Tensor, gradients: ParameterGradients
    ) -> Tensor:
        """As `Field.pull_back`."""
        own = self._own_params()
        if own is None:
            return super().pull_back(t, y, cotangent, gradients)
        if self._sums is None or self._sums[0] is not gradients:
            self._sums = gradients, [gradients.of(p) for p in self.params]
        mu = self._run("pull", self._time(t), y.detach(), cotangent, *own, self._sums[1])
        if mu is None:
            return super().pull_back(t, y, cotangent, gradients)
        self.stats.vjps += 1
        self.stats.with_graph += 1
        return mu

    def stages(
        self, plan: _Plan, times: Sequence[float], h: float, y0: Tensor, k0: Tensor
    ) -> list[Tensor] | None:
        """y1 and the derivatives of a step's stages from the second on; None: not compiled."""
        layout = self.layout
        t = torch.tensor(times, dtype=layout.dtype, device=layout.device)
        result = self._run("step", plan, t, self._time(h), y0.detach(), k0)
        if result is not None:
            self.count(len(result) - 1)
        return result

    def _run(self, name: str, *arguments: Any) -> Any:
        with torch.no_grad():
            return self.functions.run(name, self.func, self.layout, *arguments)

    def _own_params(self) -> tuple[tuple[str, ...], list[Tensor]] | None:
        """The names of `params` in the module, and the tensors; None where one is not in it."""
        if self._own is None and isinstance(self.func, nn.Module):
            names = {id(p): name for name, p in self.func.named_parameters()}
            if any(id(p) not in names for p in self.params):
                self.functions.give_up("it uses tensors that are no parameters of it")
            else:
                plain = [p.detach() for p in self.params]
                self._own = tuple(names[id(p)] for p in self.params), plain
        return self._own


class CompiledSteps(RungeKutta):
    """A stepping method whose attempts are compiled, for the evaluations of one field.

    Args:
        solver: the method.
        field: whose `value` is stepped; an attempt by another function is the method's own.
        adaptive: whether the error estimate's stages are wanted as well.
    """

    def __init__(self, solver: RungeKutta, field: CompiledField, *, adaptive: bool) -> None:
        vars(self).update(vars(solver))
        self.field = field
        self.plan = _plan(solver, adaptive)
        self.wanted = [i for i, _ in self.plan[0]]

    def attempt(
        self,
        evaluate: Evaluate,
        t0: float,
        t1: float,
        y0: Tensor,
        k0: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Attempt:
        """As `RungeKutta.attempt`; the stages of the error estimate are there already."""
        if evaluate != self.field.value:
            return super().attempt(evaluate, t0, t1, y0, k0, observe)
        attempt = Attempt(t0, t1, y0, len(self.rows))
        attempt.reused = k0 is not None
        attempt.ks[0] = k0 = evaluate(t0, y0) if k0 is None else k0
        times = [self.time(attempt, i) for i in self.wanted]
        result = self.field.stages(self.plan, times, attempt.h, y0, k0)
        if result is None:
            return super().attempt(evaluate, t0, t1, y0, k0, observe)
        attempt.y1, *ks = result
        for i, k in zip(self.wanted, ks, strict=True):
            attempt.ks[i] = k
        if observe is not None:
            for i in (0, *self.wanted):
                observe(attempt, i)
        return attempt


# The compiled functions of tensors.

_Plan = tuple[tuple[tuple[int, Terms | None], ...], Terms]
"""The wanted stages with their rows (None: the end of the step) and the weights b."""


@functools.cache
def _plan(solver: RungeKutta, adaptive: bool) -> _Plan:
    wanted = set(solver.solution_stages)
    if adaptive:
        for weights in (solver.tableau.b_err, solver.tableau.b_err_low):
            wanted.update(solver.tableau.closure(weights) if weights else ())
    rows = ((i, None if i == solver.end else solver.rows[i]) for i in sorted(wanted - {0}))
    return tuple(rows), solver.b


def _value(func: Func, layout: StateLayout, t: Tensor, y: Tensor) -> Tensor:
    """f(t, y)."""
    return layout.flatten(func(t, layout.unflatten(y)))


def _step(
    func: Func, layout: StateLayout, plan: _Plan, t: Tensor, h: Tensor, y0: Tensor, k0: Tensor
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


class _Functions:
    """The three functions, compiled for one kind of field.

    Attributes:
        seconds: spent on compiling in this process.
    """

    seconds = 0.0

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.given_up = False
        self.ready: set[str] = set()
        self._settled = device.type == "cuda"
        mode = "reduce-overhead" if device.type == "cuda" else "default"
        # Each has a code object of its own: torch bounds the number of variants of one.
        self._compiled: dict[str, Callable[..., Any]] = {
            name: torch.compile(_copy_of(function), fullgraph=True, dynamic=False, mode=mode)
            for name, function in (("value", _value), ("step", _step), ("pull", _pull))
        }

    def run(self, name: str, *arguments: Any) -> Any:
        """The function's result, or None where it is not compiled."""
        if self.given_up:
            return None
        if name in self.ready:
            return self._owned(self._compiled[name](*arguments))
        started = time.perf_counter()
        try:
            result = self._owned(self._compiled[name](*arguments))
        except _compiler_errors() as error:
            self.give_up(_reason(error))
            return None
        finally:
            _Functions.seconds += time.perf_counter() - started
        self.ready.add(name)
        return result

    def give_up(self, reason: str) -> None:
        """Nothing of these fields is compiled from now on; says so once."""
        if not self.given_up:
            self.given_up = True
            warnings.warn(
                f"compile=true: {self.name} is not compiled, because {reason}. It runs without "
                "compilation, which changes nothing but the time; leave out compile=true to "
                "silence this.",
                stacklevel=2,
            )

    def _owned(self, result: Any) -> Any:
        """On CUDA copies: a replayed CUDA graph writes into the memory of its last results."""
        if not self._settled:
            return result
        if isinstance(result, Tensor):
            return result.clone()
        return [tensor.clone() for tensor in result]


_KNOWN: dict[Hashable, _Functions] = {}


def _functions(
    func: Callable[..., Any], layout: StateLayout, params: Sequence[Tensor]
) -> _Functions:
    """Those of all fields of this class, these shapes, dtype and device."""
    kind = type(func)
    shapes = tuple((p.shape, p.dtype) for p in params)
    key = (kind, layout, shapes)
    if key not in _KNOWN:
        _KNOWN[key] = _Functions(kind.__qualname__, layout.device)
    return _KNOWN[key]


def _copy_of(function: Any) -> Any:
    return types.FunctionType(
        function.__code__.replace(), function.__globals__, function.__name__, closure=None
    )


def _compiler_errors() -> tuple[type[Exception], ...]:
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import InductorError

    return TorchDynamoException, InductorError


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"torch.compile refuses it ({type(error).__name__}: {lines[0] if lines else ''})"
