"""What a gradient method is, and the replay of a solve from what it kept of every step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, SymadjError
from symadj.grad.stores import Kept, Store, StoreOptions
from symadj.grad.stores.base import last_pass
from symadj.ode.engine import Step
from symadj.ode.field import Field, LeavesFound
from symadj.ode.methods import Attempt
from symadj.ode.once import first_order_only
from symadj.ode.problem import Problem, StepList
from symadj.ode.transforms import refuse_transforms

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
        compilable: whether its solves can run compiled.
        per_sample: whether it goes with batch="independent".
    """

    name: ClassVar[str]
    exact: ClassVar[bool] = True
    differentiable_twice: ClassVar[bool] = False
    compilable: ClassVar[bool] = False
    per_sample: ClassVar[bool] = False

    @abstractmethod
    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """The outputs [len(answered), *y0.shape], differentiable, and the accepted steps."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class OneNodeMethod(GradientMethod):
    """A gradient method whose forward solve keeps no graph and is one node of the caller's."""

    def solve(self, problem: Problem, y0: Tensor) -> tuple[Tensor, list[Step]]:
        """Finds what needs a gradient, then solves forward without graph."""
        refuse_transforms(self.name, y0)
        field, times = problem.field, problem.times
        field.checked = problem.settings.check_field
        with torch.no_grad(), field.phase("forward"):
            k0 = field.probe(problem.start, y0, again=problem.end, t0=times[0])
        if y0.requires_grad or field.params:
            return self.solve_as_node(problem, y0, k0)
        steps = StepList()
        try:
            with field.phase("forward"):
                evaluate = field.look if field.seeks else field.value
                ys = problem.solve_plain(y0, k0=k0, observer=steps, evaluate=evaluate)
        except LeavesFound:
            return self.solve_as_node(problem, y0, k0)
        return ys, steps.steps

    @abstractmethod
    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """As `solve`, where something needs a gradient and k0 = f(times[0], y0) is known."""


class Replay:
    """A finished forward solve as the backward pass sees it.

    Attributes:
        problem: what was solved.
        store: its accepted steps, and what was kept of them.
        release: whether what was kept can go as it is played back.
        gradients: the running sum of parameter gradients.
    """

    def __init__(self, problem: Problem, store: Store, *, release: bool) -> None:
        self.problem = problem
        self.store = store
        self.release = release
        self.gradients = problem.field.no_gradients()

    @property
    def field(self) -> Field:
        """The vector field."""
        return self.problem.field

    @property
    def steps(self) -> list[Step]:
        """The accepted steps."""
        return self.store.steps


class ReplayMethod(OneNodeMethod):
    """A gradient method that keeps little of the forward solve and replays it backward.

    It says what is kept of the accepted steps (`open_store`) and how the cotangents of the outputs
    are pulled back to y0 (`pull_solve`).
    """

    @abstractmethod
    def open_store(self, problem: Problem) -> Store:
        """A store for one solve."""

    @abstractmethod
    def pull_solve(self, replay: Replay, y0: Tensor, cotangents: Tensor) -> Tensor:
        """The cotangent of y0; parameter gradients join `replay.gradients`.

        Args:
            replay: the solve.
            y0: its start.
            cotangents: of the outputs, [len(answered), *y0.shape].
        """

    @staticmethod
    def pull_begin(replay: Replay, y0: Tensor, cotangent: Tensor) -> Tensor:
        """The cotangent of y0, given that of the state which the method made of it."""
        field, solver = replay.field, replay.problem.solver
        if not solver.has_own_state:
            return cotangent
        leaf = y0.detach().requires_grad_()
        with torch.enable_grad():
            state, _ = solver.begin(field.traced, replay.problem.start, leaf, None)
        of_y0, *of_params = field.pull([state], [leaf], [cotangent])
        field.stats.vjps += solver.uses_to_begin
        replay.gradients.add(of_params)
        assert of_y0 is not None
        return of_y0

    def solve_as_node(self, problem: Problem, y0: Tensor, k0: Tensor) -> tuple[Tensor, list[Step]]:
        """The store watches the forward solve."""
        forward = _Forward(self, problem, self.open_store(problem), k0)
        ys = _ReplayFunction.apply(forward, y0, *problem.field.params)
        return ys, forward.store.steps


class StepwiseReplay(ReplayMethod):
    """A replay that goes back one accepted step at a time.

    Args:
        store: what is kept of the steps, one of the class's `stores`.
        slots: of store="revolve": the most states that are kept.
        offload: where it is kept: None (on the device), "cpu" or "disk".
        offload_dir: folder for offload="disk"; None: the system's for temporary files.

    Raises:
        IncompatibleError: a store that is of no use to this method.
        InputError: as `StoreOptions`.
    """

    stores: ClassVar[tuple[str, ...]] = ("steps", "revolve")

    def __init__(
        self,
        store: str = "steps",
        slots: int | None = None,
        offload: str | None = None,
        offload_dir: str | None = None,
    ) -> None:
        self.keeping = StoreOptions(store, slots, offload, offload_dir)
        if store not in self.stores:
            raise IncompatibleError(
                f"store={store} with gradient method {self.name}, which has no use for it; it "
                f"takes {' or '.join(self.stores)}."
            )

    def open_store(self, problem: Problem) -> Store:
        """Of the kind that was asked for."""
        return self.keeping.open(problem)

    @abstractmethod
    def pull_step(
        self,
        replay: Replay,
        step: Step,
        attempt: Attempt,
        cotangent: Tensor,
        outputs: Outputs,
    ) -> Tensor:
        """The cotangent at the step's start; parameter gradients join `replay.gradients`.

        Args:
            replay: the solve.
            step: the step.
            attempt: the step's start and those stage derivatives that the store knows.
            cotangent: of the state at the step's end.
            outputs: (theta, cotangent) of the outputs inside the step.
        """

    def pull_solve(self, replay: Replay, y0: Tensor, cotangents: Tensor) -> Tensor:
        """From the last step to the first; an output's cotangent joins where its step is met."""
        solver = replay.problem.solver
        cotangent = solver.cotangent_of(torch.zeros_like(y0))
        for step, attempt in replay.store.backward(release=replay.release):
            part, landed = step.part(cotangent), step.of_end(cotangents)
            if landed is not None:
                part = part + solver.cotangent_of(landed)
            part = self.pull_step(replay, step, attempt, part, step.of_inside(cotangents))
            cotangent = step.put(cotangent, part)
            # Gone before the store makes the next one.
            del attempt
        return self.pull_begin(replay, y0, cotangent) + cotangents[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.keeping.given()})"


class _Forward:
    """What the forward pass of a replay is made of."""

    def __init__(self, method: ReplayMethod, problem: Problem, store: Store, k0: Tensor) -> None:
        self.method = method
        self.problem = problem
        self.store = store
        self.k0: Tensor | None = k0
        self.first: Kept | None = None
        self.played_back = False

    def run(self, y0: Tensor) -> Tensor:
        """The outputs; afterwards the store has what the backward pass needs."""
        field, t0 = self.problem.field, self.problem.times[0]
        with field.phase("forward"):
            ys = self.problem.solve_plain(y0, k0=self.k0, observer=self.store)
            if field.drew_late(t0):
                self.store = self.method.open_store(self.problem)
                ys = self.problem.solve_plain(y0, k0=self.k0, observer=self.store)
        field.settle()
        k0, self.k0 = self.k0, None
        if field.checked and not self.store.has_first_stage:
            assert k0 is not None
            self.first = Kept(self.store.place, k0)
            field.stats.checkpoint_bytes += self.first.nbytes
        field.stats.checkpoint_bytes += self.store.resident_bytes
        return ys


class _ReplayFunction(torch.autograd.Function):
    """The one autograd node of a solve by a `ReplayMethod`."""

    @staticmethod
    def forward(ctx: Any, forward: _Forward, y0: Tensor, *params: Tensor) -> Tensor:
        ys = forward.run(y0)
        ctx.solve = forward
        # The parameters are saved for their version counters: a parameter changed in place before
        # the backward pass would be replayed with its new value. What the store keeps nobody else
        # has in hand.
        ctx.save_for_backward(y0, *params)
        return ys

    @staticmethod
    @first_order_only
    def backward(ctx: Any, cotangents: Tensor) -> tuple[Tensor | None, ...]:
        forward: _Forward = ctx.solve
        problem, field = forward.problem, forward.problem.field
        field.refuse_changes()
        y0 = ctx.saved_tensors[0]
        if forward.played_back:
            raise SymadjError(
                "a backward pass of this solve broke off before, when part of what was kept for it "
                "had gone already. Solve again, or call backward with retain_graph=True."
            )
        forward.played_back = release = last_pass()
        replay = Replay(problem, forward.store, release=release)
        first = None if forward.first is None else forward.first.get
        with field.backward(problem.start, first):
            of_y0 = forward.method.pull_solve(replay, y0, cotangents)
            field.conclude(y0)
        return None, of_y0, *replay.gradients.results()
