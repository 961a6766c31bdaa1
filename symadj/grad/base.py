"""What a gradient method is, and the replay of a solve from what it kept of every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from symadj.grad.once import first_order_only
from symadj.ode.engine import Step
from symadj.ode.field import Field
from symadj.ode.problem import Problem, StepList
from symadj.solvers import Attempt

Outputs = Sequence[tuple[float, Tensor]]
"""(theta, cotangent) of the outputs inside a step."""


class GradientMethod(ABC):
    """How the gradient of a solve is computed.

    *Exact* means: the gradient of the discrete solution with its accepted steps frozen. No method
    differentiates a step size.

    Attributes:
        name: as in `gradient=` and in configs/grad.
        exact: whether the gradient is that of the discrete solution.
        differentiable_twice: whether a gradient of the gradient can be taken.
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    differentiable_twice: ClassVar[bool] = False

    @abstractmethod
    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """The outputs [len(times), *y0.shape], differentiable, and the accepted steps."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class OneNodeMethod(GradientMethod):
    """A gradient method whose forward solve keeps no graph and is one node of the caller's."""

    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """Finds what needs a gradient, then solves forward without graph."""
        field = problem.field
        with torch.no_grad(), field.phase("forward"):
            k0 = field.probe(problem.times[0], y0, again=problem.times[-1:])
        if y0.requires_grad or field.params:
            return self.solve_as_node(problem, y0, k0)
        steps = StepList()
        with field.phase("forward"):
            return problem.solve_plain(y0, k0=k0, observer=steps), steps.steps

    @abstractmethod
    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """As `solve`, where something needs a gradient and k0 = f(times[0], y0) is known."""


class ParameterGradients:
    """The running sum of parameter gradients; None for a parameter that was never reached."""

    def __init__(self, count: int) -> None:
        self.sums: list[Tensor | None] = [None] * count

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Adds one pull-back's gradients, in place."""
        old: list[Tensor] = []
        new: list[Tensor] = []
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            total = self.sums[i]
            if total is None:
                # A copy: autograd may hand the same memory to two inputs, or an expanded scalar.
                self.sums[i] = gradient.clone(memory_format=torch.contiguous_format)
            else:
                old.append(total)
                new.append(gradient)
        if old:
            torch._foreach_add_(old, new)  # pyright: ignore[reportPrivateImportUsage]


class Replay:
    """A finished forward solve as the backward pass sees it.

    Attributes:
        problem: what was solved.
        steps: the accepted steps.
        gradients: the running sum of parameter gradients.
    """

    def __init__(self, problem: Problem, steps: list[Step]) -> None:
        self.problem = problem
        self.steps = steps
        self.gradients = ParameterGradients(len(problem.field.params))

    @property
    def field(self) -> Field:
        """The vector field."""
        return self.problem.field


class ReplayMethod(OneNodeMethod):
    """A gradient method that keeps little of the forward solve and replays it backward.

    It says what is kept of an accepted step (`keep`) and how the cotangents of the outputs are
    pulled back to y0 (`pull_solve`).
    """

    @abstractmethod
    def keep(self, attempt: Attempt) -> tuple[Tensor, ...]:
        """What is kept of an accepted step, the same number of tensors for each."""

    @abstractmethod
    def pull_solve(
        self, replay: Replay, y0: Tensor, kept: Sequence[Sequence[Tensor]], cotangents: Tensor
    ) -> Tensor:
        """The cotangent of y0; parameter gradients join `replay.gradients`.

        Args:
            replay: the solve.
            y0: its start.
            kept: what `keep` returned for every step.
            cotangents: of the outputs, [len(times), *y0.shape].
        """

    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """Keeps of every accepted step what `keep` says."""
        keeper = _Keeper(self, problem, k0)
        ys = _ReplayFunction.apply(keeper, y0, *problem.field.params)
        return ys, keeper.steps


class StepwiseReplay(ReplayMethod):
    """A replay that goes back one accepted step at a time, from the state at its start."""

    def keep(self, attempt: Attempt) -> tuple[Tensor, ...]:
        """The state at the step's start."""
        return (attempt.y0,)

    @abstractmethod
    def pull_step(
        self,
        replay: Replay,
        step: Step,
        kept: Sequence[Tensor],
        cotangent: Tensor,
        outputs: Outputs,
    ) -> Tensor:
        """The cotangent at the step's start; parameter gradients join `replay.gradients`.

        Args:
            replay: the solve.
            step: the step.
            kept: what `keep` returned for it.
            cotangent: of the state at the step's end.
            outputs: (theta, cotangent) of the outputs inside the step.
        """

    def pull_solve(
        self, replay: Replay, y0: Tensor, kept: Sequence[Sequence[Tensor]], cotangents: Tensor
    ) -> Tensor:
        """From the last step to the first; an output's cotangent joins where its step is met."""
        cotangent = torch.zeros_like(y0)
        for step, start in zip(reversed(replay.steps), reversed(kept), strict=True):
            if step.landed is not None:
                cotangent = cotangent + cotangents[step.landed]
            outputs = [(theta, cotangents[i]) for i, theta in step.interior]
            cotangent = self.pull_step(replay, step, start, cotangent, outputs)
        return cotangent + cotangents[0]


class _Keeper(StepList):
    """Runs the forward solve and keeps of every step what the method asks for."""

    def __init__(self, method: ReplayMethod, problem: Problem, k0: Tensor) -> None:
        super().__init__()
        self.method = method
        self.problem = problem
        self.k0: Tensor | None = k0
        self.tensors: list[Tensor] = []

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Remembers the step and what is kept of it."""
        super().accepted(step, attempt)
        kept = self.method.keep(attempt)
        self.tensors.extend(kept)
        self.problem.field.stats.checkpoint_bytes += sum(tensor.nbytes for tensor in kept)

    def run(self, y0: Tensor) -> Tensor:
        """The outputs; afterwards `tensors` and `steps` are complete."""
        with self.problem.field.phase("forward"):
            k0, self.k0 = self.k0, None
            return self.problem.solve_plain(y0, k0=k0, observer=self)


class _ReplayFunction(torch.autograd.Function):
    """The one autograd node of a solve by a `ReplayMethod`."""

    @staticmethod
    def forward(ctx: Any, keeper: _Keeper, y0: Tensor, *params: Tensor) -> Tensor:
        ys = keeper.run(y0)
        ctx.method, ctx.problem, ctx.steps = keeper.method, keeper.problem, keeper.steps
        ctx.params = len(params)
        # The parameters are saved for their version counters: a parameter changed in place before
        # the backward pass would be replayed with its new value.
        ctx.save_for_backward(y0, *params, *keeper.tensors)
        keeper.tensors = []
        return ys

    @staticmethod
    @first_order_only
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        y0, *rest = ctx.saved_tensors
        kept = rest[ctx.params :]
        steps: list[Step] = ctx.steps
        width = len(kept) // len(steps)
        groups = [kept[i * width : (i + 1) * width] for i in range(len(steps))]
        replay = Replay(ctx.problem, steps)
        with replay.field.phase("backward"):
            of_y0 = ctx.method.pull_solve(replay, y0, groups, cotangents)
        return None, of_y0, *replay.gradients.sums
