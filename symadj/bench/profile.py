"""Where the seconds of an evaluation go, by the profiler: products, other operations, the rest."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

from symadj.ode.control import AdaptiveSteps, FixedSteps
from symadj.ode.methods import RungeKutta
from symadj.ode.problem import Problem

CONTROL = "step control"
PARTS: tuple[str, ...] = ("matrix products", "elementwise", "autograd", CONTROL, "python")
"""Products of matrices and convolutions; all other operations, sums and copies among them; what the
autograd engine does between operations, the Python of a backward pass that it calls included; error
estimates and step sizes, their operations included; and what is left of the seconds: the Python of
the forward pass, and the launching of operations."""

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmv", "mv", "dot", "linear", "convolution")
_CONTROLS = (
    (RungeKutta, "estimate"),
    (Problem, "ratio"),
    (AdaptiveSteps, "begin"),
    (AdaptiveSteps, "propose"),
    (AdaptiveSteps, "judge"),
    (FixedSteps, "propose"),
)


def seconds_by_part(evaluate: Callable[[], object], evaluations: int = 3) -> dict[str, float]:
    """Seconds of one evaluation by `PARTS`, the mean of several under the profiler.

    The profiler takes a microsecond or two for every operation, most of it outside of the
    operation: small networks look more like Python than they are.

    Args:
        evaluate: does one.
        evaluations: how many.
    """
    evaluate()
    with _marked(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        started = time.perf_counter()
        for _ in range(evaluations):
            evaluate()
        wall = time.perf_counter() - started
    seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for event in profiler.events() or ():
        part = _part(event)
        if part is not None:
            seconds[part] += 1e-6 * event.self_cpu_time_total
    seconds["python"] = max(0.0, wall - sum(seconds.values()))
    return {part: value / evaluations for part, value in seconds.items()}


def _part(event: FunctionEvent) -> str | None:
    """To which part the event's own time belongs; None: to none of the operations."""
    above: FunctionEvent | None = event
    while above is not None:
        if above.name == CONTROL:
            return CONTROL
        above = above.cpu_parent
    kind, _, name = event.name.partition("::")
    if kind in ("aten", "mkldnn"):
        return PARTS[0] if name.strip("_").startswith(_PRODUCTS) else PARTS[1]
    if event.name.startswith("## Call CompiledFxGraph"):
        return PARTS[1]
    return "autograd" if "autograd::engine" in event.name or "Backward" in event.name else None


@contextlib.contextmanager
def _marked() -> Iterator[None]:
    """Within it, what decides on steps shows in a profile."""
    before = [(kind, name, getattr(kind, name)) for kind, name in _CONTROLS]
    for kind, name, function in before:
        setattr(kind, name, _as_control(function))
    try:
        yield
    finally:
        for kind, name, function in before:
            setattr(kind, name, function)


def _as_control(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def marked(*arguments: Any, **named: Any) -> Any:
        with record_function(CONTROL):
            return function(*arguments, **named)

    return marked
