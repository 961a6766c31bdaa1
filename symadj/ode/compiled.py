"""Fields whose evaluations, steps and pull-backs are compiled.

Compiled are functions of tensors: one evaluation, the stages and the error of one step, and the
pull-back of one stage or, for small fields, of one step. Times, step sizes, tolerances and all that
the module holds in tensors are their arguments: new ones compile nothing anew. The compiler's own
cache on disk serves later processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from symadj.ode import compiled_functions as functions
from symadj.ode.compiled_functions import Body, Functions, Use
from symadj.ode.contents import ChangedError, Contents, numbers_in
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.layout import StateLayout
from symadj.ode.methods import Attempt, Evaluate, Observe, RungeKutta
from symadj.ode.settings import SolverSettings
from symadj.ode.situation import Situation
from symadj.ode.tracing import Graph

P = TypeVar("P")


def compile_seconds() -> float:
    """Seconds that this process has spent on compiling so far."""
    return Functions.seconds


class CompiledField(Field):
    """A `Field` that is a module, with its evaluations and pull-backs compiled.

    What cannot be compiled, or would not gain by it, runs as it would without, after a warning that
    says why.
    """

    situation_type: ClassVar[type[Situation]] = Contents

    def __init__(
        self, func: Callable[..., Any], layout: StateLayout, params: Sequence[Tensor] = ()
    ) -> None:
        super().__init__(func, layout, params)
        self._functions: Functions | None = None
        self._graphs: dict[Hashable, Graph] = {}
        self._sums: tuple[ParameterGradients, list[Tensor]] | None = None

    def probe(
        self, t: float, y: Tensor, *, again: Sequence[float] = (), t0: float | None = None
    ) -> Tensor:
        """As `Field.probe`; what the module holds from then on is what the functions are given."""
        before = numbers_in(self.func)
        k = super().probe(t, y, again=again, t0=t0)
        assert isinstance(self._situation, Contents)
        self._contents = self._situation
        # That they do not count, the look of a backward pass at the first stage makes sure of.
        after = numbers_in(self.func)
        self._contents.counters = {at for at in before if after.get(at) != before[at]}
        evaluate = functools.partial(self._once_more, t, y)
        made = functions.functions_of(self.func, self.layout, self._contents, evaluate)
        if (reason := self._reason_against(made)) is not None:
            made.give_up(reason)
        if not made.given_up:
            self._functions = made
            numbers = {id(tensor): i for i, tensor in enumerate(self._contents.tensors)}
            self._wanted = [numbers[id(p)] for p in self.params]
            # The sizes of the state's parts are those of the first tensors, which hold nothing.
            sizes = [y.new_empty(()).expand(shape) for shape in self.layout.shapes]
            self._held = [*sizes, *(tensor.detach() for tensor in self._contents.tensors)]
        return k

    def _once_more(self, t: float, y: Tensor) -> None:
        """An evaluation that is not counted and leaves nothing behind."""
        if self.draws is None:
            with self._contents.statistics_kept(), torch.enable_grad():
                self._call(t, y.detach().requires_grad_())

    def _reason_against(self, made: Functions) -> str | None:
        """Why this field is not compiled."""
        held = {id(tensor) for tensor in self._contents.tensors}
        if not isinstance(self.func, nn.Module):
            return "it is no torch.nn.Module"
        if self._autocast[2]:
            return "it runs under autocast"
        if self._own_pull_back and self.layout.device.type == "cpu" and not made.small:
            return "on a CPU and at this size its own formulas, in blocks of rows, are faster"
        if self.draws is not None:
            return "it draws random numbers"
        if self._call.spoils:
            return "it changes its state in place"
        if any(id(p) not in held for p in self.params):
            return "it uses tensors that it does not hold"
        return None

    @property
    def keeps_graphs(self) -> bool:
        """As `Field.keeps_graphs`: what is compiled keeps none."""
        return self._functions is None and super().keeps_graphs

    def value(self, t: float, y: Tensor) -> Tensor:
        """As `Field.value`."""
        results = self._run(functions.value, None, [t], [y])
        if results is None:
            return super().value(t, y)
        self.count(1)
        return self._compared(t, results[0])

    def pull_back(
        self, t: float, y: Tensor, cotangent: Tensor, gradients: ParameterGradients
    ) -> Tensor:
        """As `Field.pull_back`."""
        results = self._run(functions.pull, None, [t], [y, cotangent], gradients)
        if results is None:
            return super().pull_back(t, y, cotangent, gradients)
        self.stats.vjps += 1
        self.stats.with_graph += 1
        return results[0]

    def pull_step(
        self,
        solver: RungeKutta,
        attempt: Attempt,
        cotangent: Tensor,
        gradients: ParameterGradients,
    ) -> Tensor | None:
        """As `Field.pull_step`, where the field is small."""
        if self._functions is None or not self._functions.small:
            return None
        plan = functions.back_plan_of(solver)
        numbers = [*(solver.time(attempt, i) for i, *_ in plan), attempt.h]
        known = [attempt.ks[i] for i, *_ in reversed(plan[1:])]
        states = [cotangent, attempt.y0, *(k for k in known if k is not None)]
        results = self._run(functions.pull_step, plan, numbers, states, gradients)
        if results is None:
            return None
        self.stats.vjps += len(plan)
        self.stats.with_graph += len(plan)
        return results[0]

    def step(
        self, plan: functions.Plan, numbers: Sequence[float], y0: Tensor, k0: Tensor
    ) -> Sequence[Tensor] | None:
        """As `symadj.ode.compiled_functions.step`; None: not compiled."""
        results = self._run(functions.step, plan, numbers, [y0, k0])
        if results is not None:
            self.count(len(plan[0]))
        return results

    def _run(
        self,
        body: Body[P],
        plan: P,
        numbers: Sequence[float],
        states: Sequence[Tensor],
        gradients: ParameterGradients | None = None,
    ) -> Sequence[Tensor] | None:
        """The results of a function, compiled if need be; None: it is not."""
        if self._functions is None:
            return None
        times = torch.tensor(numbers, dtype=torch.float64, device=self.layout.device)
        inputs = [*self._held, times, *(y.detach().contiguous() for y in states)]
        first = len(inputs)
        # Plans are long to compare, and live as long as their solvers.
        known = self._graphs.get((body, id(plan)))
        if known is None:
            traced = functools.partial(self._traced, body, plan, first)
            sums = (
                () if gradients is None else ParameterGradients(self.params, zeros=True).results()
            )
            examples = [*inputs, *sums]
            known = self._functions.graph((body, plan), traced, examples)
            if known is None:
                self._functions = None
                return None
            self._graphs[body, id(plan)] = known
        if gradients is not None:
            inputs += self._sums_of(gradients, known, first)
        with torch.no_grad():
            return self._functions.run(known, inputs)

    def _sums_of(self, gradients: ParameterGradients, graph: Graph, first: int) -> list[Tensor]:
        """The running sums that the graph, from its input `first` on, adds to.

        In place of the sum of a parameter that is never reached, the parameter, which stays as it
        is.
        """
        if self._sums is None or self._sums[0] is not gradients:
            sums = [
                total if first + i in graph.used and (total := gradients.of(p)) is not None else p
                for i, p in enumerate(self.params)
            ]
            self._sums = gradients, sums
        return self._sums[1]

    def _traced(
        self, body: Body[P], plan: P, first: int, tensors: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """The results of `body`, with these tensors in place of what the module holds.

        Raises:
            ChangedError: the module changes what it holds.
        """
        shapes = tuple(x.shape for x in tensors[: len(self.layout.shapes)])
        layout = replace(self.layout, shapes=shapes)
        own = self._contents.tensors
        held = [x.detach() for x in tensors[len(shapes) : len(self._held)]]
        for x, real in zip(held, own, strict=True):
            x.requires_grad_(real.requires_grad)
        times, *states = tensors[len(self._held) : first]
        for y in states:
            torch._check(layout.bare or y.shape[0] == sum(layout.sizes))
        use = Use(self.func, layout, [held[i] for i in self._wanted], tensors[first:])
        versions = [x._version for x in held]
        with self._contents.standing_in(held):
            results = body(use, plan, times.unbind(), states)
        if versions != [x._version for x in held]:
            raise ChangedError
        return results


class CompiledSteps(RungeKutta):
    """A stepping method whose attempts are compiled, for the evaluations of one field.

    Args:
        solver: the method.
        field: whose `value` is stepped; an attempt by another function is the method's own.
        settings: whose tolerances attempts are judged by.
        judged: whether they are.
    """

    def __init__(
        self, solver: RungeKutta, field: CompiledField, settings: SolverSettings, *, judged: bool
    ) -> None:
        vars(self).update(vars(solver))
        self.field = field
        plain = settings.norm is None and settings.entrywise is None and not settings.sync
        self.tolerances = settings.rtol, settings.atol
        self.plan = functions.plan_of(solver, judged, judged and plain)
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
        """As `RungeKutta.attempt`; the stages of the error estimate and its ratio are there too."""
        if evaluate != self.field.value:
            return super().attempt(evaluate, t0, t1, y0, k0, observe)
        attempt = Attempt(t0, t1, y0, self.stages)
        attempt.reused = k0 is not None
        attempt.ks[0] = k0 = evaluate(t0, y0) if k0 is None else k0
        times = (self.time(attempt, i) for i in self.wanted)
        results = self.field.step(self.plan, [*times, attempt.h, *self.tolerances], y0, k0)
        if results is None:
            return super().attempt(evaluate, t0, t1, y0, k0, observe)
        attempt.y1 = results[0]
        for i, k in zip(self.wanted, results[1:], strict=False):
            attempt.ks[i] = k
        if self.plan[2]:
            attempt.ratio = results[-1]
        if observe is not None:
            for i in (0, *self.wanted):
                observe(attempt, i)
        return attempt
