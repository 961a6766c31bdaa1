"""The problem that all cases of a group share, and the gradient that theirs are held against."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from symadj.bench.replay import DrawnAs, Grid, RecordingIntegrator, ReplayIntegrator
from symadj.calls.integrator import Integrator
from symadj.config.bench import BenchSettings
from symadj.config.compose import run_settings
from symadj.config.schema import RunSettings
from symadj.data.base import place_batch
from symadj.errors import IncompatibleError, InputError
from symadj.files import write_atomically
from symadj.ode.settings import SolverSettings
from symadj.run.parts import Parts, build_parts
from symadj.run.seed import random_state, restore_random_state, seed_everything
from symadj.run.trained import load_weights


@dataclass
class BenchProblem:
    """A model, a batch and an objective: the same noise at every evaluation.

    Attributes:
        parts: model, task, solver and gradient method.
        batch: fixed.
        settings: of the run that this would be an iteration of.
        autocast: the type that fields are evaluated in; None: that of the state.
        random: the state of the generators with which every evaluation starts, once there was one.
    """

    parts: Parts
    batch: Any
    settings: RunSettings
    autocast: torch.dtype | None = None
    random: dict[str, Any] | None = None

    @staticmethod
    def of(config: Mapping[str, Any], how: BenchSettings | None = None) -> BenchProblem:
        """Makes the problem of a case's configuration; the same seed makes the same problem.

        Args:
            config: of the case.
            how: whose weights and autocast hold; None: fresh weights, the type of the state.

        Raises:
            InputError: a setting that cannot be used, or weights of another model.
        """
        how = how or BenchSettings()
        settings = run_settings(config)
        seed_everything(settings.seed)
        parts = build_parts(config, settings)
        if how.weights is not None:
            try:
                load_weights(parts.model, Path(how.weights))
            except InputError as error:
                raise InputError(f"weights={how.weights}: {error}") from error
        generator = torch.Generator().manual_seed(settings.seed)
        batch = parts.batch(settings.train.batch_size, generator)
        dtype = None if how.autocast is None else getattr(torch, how.autocast)
        return BenchProblem(parts, batch, settings, dtype)

    def draw_again(self) -> None:
        """Puts the random numbers back to where every evaluation of the loss starts."""
        if self.random is None:
            # Not the seed of the weights: the noise must not be made of the same numbers.
            seed_everything(self.settings.seed + 1)
            self.random = random_state()
        else:
            # Seeding takes a millisecond, which a small problem's seconds would show.
            restore_random_state(self.random)

    def loss(self, integrator: Integrator) -> Tensor:
        """The objective, a scalar with a graph, on the noise that belongs to the problem."""
        self.draw_again()
        kind, dtype = self.parts.device.type, self.autocast
        with torch.autocast(kind, dtype=dtype) if dtype else nullcontext():
            return self.parts.task.loss(self.parts.model, self.batch, integrator)

    def replayed_gradient(self, integrator: Integrator) -> tuple[Tensor, float]:
        """The gradient and the loss in float64, fields too: same weights, batch and noise.

        Args:
            integrator: of the solves; what holds them to steps that are given.
        """
        model = copy.deepcopy(self.parts.model).double()
        model.zero_grad(set_to_none=True)
        with DrawnAs(self.parts.dtype):
            self.draw_again()
            loss = self.parts.task.loss(model, place_batch(self.batch, torch.float64), integrator)
        loss.backward()
        return flat_gradient(model.parameters()), float(loss.detach())


@dataclass(frozen=True)
class Reference:
    """A gradient with the steps that it belongs to.

    Attributes:
        grids: the accepted steps of every solve of the loss, taken in the dtype of the rows.
        gradient: of the discrete solution on those steps, with the same weights, batch and noise
            in float64, by backpropagation.
        loss: in float64.
        converged: the gradient of a solution so exact that its steps do not matter; None: unknown.
    """

    grids: list[Grid]
    gradient: Tensor
    loss: float
    converged: Tensor | None = None

    @staticmethod
    def of(
        problem: BenchProblem, grids: list[Grid] | None = None, tolerance: float | None = None
    ) -> Reference:
        """Computes the reference.

        Args:
            problem: what is differentiated.
            grids: the steps; None: those that the problem's solver accepts.
            tolerance: rtol = atol of the solve by dop853 in float64 that gives `converged`; None:
                it is left out.
        """
        # Backpropagation does not compile, and what is compiled is to be held against what is not.
        solver = replace(problem.parts.integrator.solver, compile=False)
        if grids is None:
            integrator = RecordingIntegrator(solver)
            with torch.no_grad():
                problem.loss(integrator)
            grids = integrator.grids
        replay = ReplayIntegrator(solver, "backprop", grids)
        gradient, loss = problem.replayed_gradient(replay)
        converged = None
        if tolerance is not None:
            exact = Integrator(SolverSettings("dop853", tolerance, tolerance), "symplectic")
            converged = problem.replayed_gradient(exact)[0]
        return Reference(grids, gradient, loss, converged)

    def save(self, path: Path) -> None:
        """Writes it for another process."""
        write_atomically(path, lambda file: torch.save(vars(self), file))

    @staticmethod
    def load(path: Path) -> Reference:
        """Reads what `save` wrote."""
        return Reference(**torch.load(path, weights_only=True))


def flat_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """All gradients as one float64 vector on the CPU; zeros where a parameter has none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([part.detach().flatten().double().cpu() for part in parts])


def relative_error(gradient: Tensor, reference: Tensor) -> float:
    """|gradient - reference| / |reference| in the Euclidean norm; 0 where both are zero."""
    error, scale = float((gradient - reference).norm()), float(reference.norm())
    return error / scale if scale else (0.0 if error == 0 else float("inf"))


def hide_formulas(model: nn.Module) -> None:
    """Takes a model's own derivatives away, so that its field goes through torch.autograd.grad.

    Those are `tangent` of a flow's networks and `gradient` of an energy.

    Raises:
        IncompatibleError: there is none: the row would be another one's twin.
    """
    found = [(m, name) for m in model.modules() for name in _FORMULAS if hasattr(m, name)]
    if not found:
        raise IncompatibleError(
            "the model's field has no derivative that could be computed in two ways."
        )
    for module, name in found:
        setattr(module, name, None)


_FORMULAS = ("tangent", "gradient")
