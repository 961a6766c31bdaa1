"""diffrax on the same problem, compiled as a whole.

The problems as functions of JAX arrays: `symadj.bench.peers.jax_flow` and `jax_energy`, and what a
task of a user's own offers by its `jax_problem`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from torch import Tensor, nn

from symadj.bench.candidate import Counts, Lap, finite
from symadj.bench.cases import Peer
from symadj.bench.peers.jax_energy import JaxEnergy
from symadj.bench.peers.jax_flow import JaxFlow
from symadj.bench.peers.jax_solve import JaxProblem, Solves, Stepping, adaptive, on_grid
from symadj.bench.problem import BenchProblem
from symadj.bench.replay import Grid, exact
from symadj.errors import IncompatibleError, MaxStepsExceeded, NewtonError, SolveError
from symadj.meters.live_bytes import over_budget
from symadj.meters.meter import Meter
from symadj.tasks.density import Density
from symadj.tasks.physics import Physics


class DiffraxCandidate:
    """diffrax's default: backpropagation from recursive checkpoints (Stumm and Walther 2010).

    diffrax is told how many steps each solve takes, so that it reserves memory for no more of them;
    left alone it is ready for 4096.

    Args:
        problem: a flow under the task `Density`, an energy over a grid under `Physics`, or a task
            that has a `jax_problem`.
        peer: how the derivative inside the field is taken.

    Raises:
        IncompatibleError: another model or task, a solver that diffrax does not have, or a device
            other than the CPU.
        MaxStepsExceeded: a solve does not reach its end.
        NewtonError: the equations of a fixed step are not solved.
    """

    def __init__(self, problem: BenchProblem, peer: Peer) -> None:
        parts = problem.parts
        if parts.device.type != "cpu":
            raise IncompatibleError("the peer diffrax needs device=cpu.")
        self.problem = problem
        self.solver = parts.integrator.solver
        self.loss = float("nan")
        self._gradient: Mapping[str, Any] = {}
        self._counts = Counts({}, {})
        with precision(parts.dtype):
            self.jax = _in_jax(problem, peer.tangent)
            self._inputs = self.jax.inputs(problem)
            self._step = self._compile()

    @property
    def grids(self) -> None:
        """Those of diffrax are its own."""

    def evaluate(self) -> Lap:
        """Computes the loss and its gradient once, in one compiled function."""
        started = time.perf_counter()
        with precision(self.problem.parts.dtype):
            (loss, solves), gradient = jax.block_until_ready(self._step(*self._inputs))
        total = time.perf_counter() - started
        self.loss, self._gradient = finite(float(loss)), gradient
        steps, accepted = (int(sum(counts)) for counts in (solves.steps, solves.accepted))
        self._counts = Counts({}, {"accepted": accepted, "rejected": steps - accepted})
        return Lap(total)

    def gradient(self) -> Tensor:
        """The gradient of the last evaluation, one float64 vector."""
        return _flat(self._gradient, self.problem.parts.model)

    def counts(self) -> Counts:
        """Steps of the last evaluation; diffrax does not count its evaluations."""
        return self._counts

    def memory(self, meter: Meter) -> dict[str, Any]:
        """What the compiled function needs, by XLA's own account: temporaries and results.

        Raises:
            MemoryBudgetExceeded: more than the meter's budget.
        """
        account = self._step.memory_analysis()
        peak = int(account.temp_size_in_bytes + account.output_size_in_bytes)
        if meter.budget is not None and peak > meter.budget:
            raise over_budget(peak, meter.budget, "by XLA's account")
        parts = ("outputs", "checkpoints", "graph", "optimizer", "reserved")
        return {"meter": "xla", "peak_bytes": peak, **{f"{part}_bytes": None for part in parts}}

    def replayed(self, grids: Sequence[Grid]) -> Tensor:
        """The gradient in float64 on the given steps.

        Raises:
            NewtonError: the equations of one of them are not solved.
        """
        solver = exact(self.solver)
        with precision(torch.float64):
            loss = self.jax.loss([on_grid(solver, grid) for grid in grids])
            inputs = self.jax.inputs(self.problem)
            gradient, solves = jax.jit(jax.grad(loss, has_aux=True))(*inputs)
            if not all(bool(ended) for ended in solves.ended):
                raise _unfinished(solves, NewtonError)
            return _flat(gradient, self.problem.parts.model)

    def _compile(self) -> Any:
        """The loss and its gradient, compiled for the number of steps that they take."""
        free = self._stepping(self.solver.max_steps)
        _, solves = jax.jit(self.jax.loss([free] * self.jax.solves))(*self._inputs)
        if not all(bool(ended) for ended in solves.ended):
            raise _unfinished(solves, MaxStepsExceeded if self.solver.adaptive else NewtonError)
        bounded = [self._stepping(int(steps)) for steps in solves.steps]
        step = jax.value_and_grad(self.jax.loss(bounded), has_aux=True)
        return jax.jit(step).lower(*self._inputs).compile()

    def _stepping(self, max_steps: int) -> Stepping:
        solver = self.solver
        if solver.adaptive:
            return adaptive(
                solver.method,
                solver.rtol,
                solver.atol,
                max_steps,
                solver.first_step,
                solver.newton_tol,
            )
        return on_grid(solver, solver.fixed_grid(0.0, self.jax.T))


def _in_jax(problem: BenchProblem, tangent: bool) -> JaxProblem:
    """The task's own problem in JAX, or that of a task of symadj's."""
    task = problem.parts.task
    own: JaxProblem | None = task.jax_problem(problem, tangent)
    if own is not None:
        return own
    if type(task) not in _PROBLEMS:
        raise IncompatibleError(
            "the peer diffrax needs task=density, task=physics, or a task that has its problem in "
            "JAX (jax_problem)."
        )
    return _PROBLEMS[type(task)](problem, tangent)


_PROBLEMS: dict[type[Any], Callable[[BenchProblem, bool], JaxProblem]] = {
    Density: JaxFlow,
    Physics: JaxEnergy,
}


def _unfinished(solves: Solves, kind: type[SolveError]) -> SolveError:
    steps, accepted = (int(sum(counts)) for counts in (solves.steps, solves.accepted))
    unknown = float("nan")
    return kind(
        "diffrax did not reach the end of a solve",
        phase="forward",
        t=unknown,
        h=unknown,
        steps=accepted,
        rejects=steps - accepted,
        largest=unknown,
    )


def _flat(gradient: Mapping[str, Any], model: nn.Module) -> Tensor:
    parts = [np.asarray(gradient[name], dtype=np.float64) for name, _ in model.named_parameters()]
    return torch.from_numpy(np.concatenate([part.ravel() for part in parts]))


@contextlib.contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Makes JAX work in this precision for the block: by default it makes float32 of everything."""
    config: Any = jax.config  # its flags are no attributes to a type checker
    before = config.jax_enable_x64
    config.update("jax_enable_x64", dtype == torch.float64)
    try:
        yield
    finally:
        config.update("jax_enable_x64", before)
