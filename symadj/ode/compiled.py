"""Fields whose evaluations, steps and pull-backs are compiled by torch.compile.

Compiled are functions of tensors: one evaluation, the stages of one step, and the pull-back of one
stage or, for small fields, of one step. Times and step sizes are tensors: new ones compile nothing
anew. The compiler's own cache on disk serves later processes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from symadj.ode.compiled_functions import Functions, Plan, back_plan_of, functions_of, plan_of
from symadj.ode.field import Field
from symadj.ode.gradients import ParameterGradients
from symadj.ode.layout import StateLayout
from symadj.ode.methods import Attempt, Evaluate, Observe, RungeKutta


def compile_seconds() -> float:
    """Seconds that this process has spent on compiling so far, first runs included."""
    return Functions.seconds


class CompiledField(Field):
    """A `Field` that is a module, with its evaluations and pull-backs compiled.

    What cannot be compiled, or would not gain by it, runs as it would without, after a warning that
    says why.
    """

    def __init__(
        self, func: Callable[..., Any], layout: StateLayout, params: Sequence[Tensor] = ()
    ) -> None:
        super().__init__(func, layout, params)
        self.functions = functions_of(func, layout, self.params)
        self._own: tuple[tuple[str, ...], list[Tensor]] | None = None
        self._sums: tuple[ParameterGradients, list[Tensor | None]] | None = None
        if not isinstance(func, nn.Module):
            self.functions.give_up("it is no torch.nn.Module")
        elif self._autocast[2]:
            self.functions.give_up("it runs under autocast")
        elif self._own_pull_back and layout.device.type == "cpu" and not self.functions.small:
            self.functions.give_up(
                "on a CPU and at this size its own formulas, in blocks of rows, are faster"
            )

    def probe(
        self, t: float, y: Tensor, *, again: Sequence[float] = (), t0: float | None = None
    ) -> Tensor:
        """As `Field.probe`."""
        k = super().probe(t, y, again=again, t0=t0)
        if self.draws is not None:
            self.functions.give_up("it draws random numbers")
        elif self._call.spoils:
            self.functions.give_up("it changes its state in place")
        return k

    def value(self, t: float, y: Tensor) -> Tensor:
        """As `Field.value`."""
        k = self._run("value", self._time(t), y.detach())
        if k is None:
            return super().value(t, y)
        self.count(1)
        return self._compared(t, k)

    def pull_back(
        self, t: float, y: Tensor, cotangent: Tensor, gradients: ParameterGradients
    ) -> Tensor:
        """As `Field.pull_back`."""
        own = self._own_arguments(gradients)
        if own is None:
            return super().pull_back(t, y, cotangent, gradients)
        mu = self._run("pull", self._time(t), y.detach(), cotangent, *own)
        if mu is None:
            return super().pull_back(t, y, cotangent, gradients)
        self.stats.vjps += 1
        self.stats.with_graph += 1
        return mu

    def pull_step(
        self,
        solver: RungeKutta,
        attempt: Attempt,
        cotangent: Tensor,
        gradients: ParameterGradients,
    ) -> Tensor | None:
        """As `Field.pull_step`, where the field is small."""
        own = self._own_arguments(gradients) if self.functions.small else None
        if own is None:
            return None
        plan = back_plan_of(solver)
        t = self._times(solver, attempt, [i for i, *_ in plan])
        h, y0 = self._time(attempt.h), attempt.y0.detach()
        lam = self._run("pull_step", plan, t, h, y0, attempt.ks, cotangent, *own)
        if lam is not None:
            self.stats.vjps += len(plan)
            self.stats.with_graph += len(plan)
        return lam

    def stages(
        self, solver: RungeKutta, plan: Plan, attempt: Attempt, k0: Tensor
    ) -> list[Tensor] | None:
        """y1 and the derivatives of a step's stages from the second on; None: not compiled."""
        t = self._times(solver, attempt, [i for i, _ in plan[0]])
        result = self._run("step", plan, t, self._time(attempt.h), attempt.y0.detach(), k0)
        if result is not None:
            self.count(len(result) - 1)
        return result

    def _run(self, name: str, *arguments: Any) -> Any:
        with torch.no_grad():
            return self.functions.run(name, self.func, self.layout, *arguments)

    def _times(self, solver: RungeKutta, attempt: Attempt, stages: Sequence[int]) -> Tensor:
        times = [solver.time(attempt, i) for i in stages]
        return torch.tensor(times, dtype=self.layout.time_dtype, device=self.layout.device)

    def _own_arguments(
        self, gradients: ParameterGradients
    ) -> tuple[tuple[str, ...], list[Tensor], list[Tensor | None]] | None:
        """The names of `params` in the module, the tensors and their running sums.

        None where one is not in the module.
        """
        if self._own is None and isinstance(self.func, nn.Module):
            names = {id(p): name for name, p in self.func.named_parameters()}
            if any(id(p) not in names for p in self.params):
                self.functions.give_up("it uses tensors that are no parameters of it")
            else:
                plain = [p.detach() for p in self.params]
                self._own = tuple(names[id(p)] for p in self.params), plain
        if self._own is None:
            return None
        if self._sums is None or self._sums[0] is not gradients:
            self._sums = gradients, [gradients.of(p) for p in self.params]
        return *self._own, self._sums[1]


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
        self.plan = plan_of(solver, adaptive)
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
        result = self.field.stages(self, self.plan, attempt, k0)
        if result is None:
            return super().attempt(evaluate, t0, t1, y0, k0, observe)
        attempt.y1, *ks = result
        for i, k in zip(self.wanted, ks, strict=True):
            attempt.ks[i] = k
        if observe is not None:
            for i in (0, *self.wanted):
                observe(attempt, i)
        return attempt
