"""The problem that all rows of a group share: one model, one batch, the same noise every time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from symadj.bench.gradients import flat_gradient
from symadj.bench.replay import DrawnAs
from symadj.calls.integrator import Integrator
from symadj.config.compose import run_settings
from symadj.config.schema import RunSettings
from symadj.errors import IncompatibleError, InputError
from symadj.run.parts import Parts, build_parts
from symadj.run.seed import seed_everything
from symadj.run.trained import load_weights


@dataclass
class BenchProblem:
    """A model, a batch and an objective.

    Attributes:
        parts: model, task, solver and gradient method.
        batch: fixed.
        settings: of the run that this would be an iteration of.
        autocast: the type that fields are evaluated in; None: that of the state.
    """

    parts: Parts
    batch: Any
    settings: RunSettings
    autocast: torch.dtype | None = None

    @staticmethod
    def of(
        config: Mapping[str, Any], weights: str | None = None, autocast: str | None = None
    ) -> BenchProblem:
        """Makes the problem of a row's configuration; the same seed makes the same problem.

        Args:
            config: of the row.
            weights: a run's directory, or a file that it keeps weights in; None: fresh ones.
            autocast: the name of the type that fields are evaluated in; None: that of the state.

        Raises:
            InputError: a setting that cannot be used, or weights of another model.
        """
        settings = run_settings(config)
        seed_everything(settings.seed)
        parts = build_parts(config, settings)
        if weights is not None:
            try:
                load_weights(parts.model, Path(weights))
            except InputError as error:
                raise InputError(f"weights={weights}: {error}") from error
        generator = torch.Generator().manual_seed(settings.seed)
        batch = parts.data.sample_batch(settings.train.batch_size, generator)
        dtype = None if autocast is None else getattr(torch, autocast)
        return BenchProblem(parts, parts.place(batch), settings, dtype)

    def draw_again(self) -> None:
        """Puts the random numbers back to where every evaluation of the loss starts."""
        # Not the seed of the weights: the noise must not be made of the same numbers.
        seed_everything(self.settings.seed + 1)

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
            loss = self.parts.task.loss(model, self.batch.to(torch.float64), integrator)
        loss.backward()
        return flat_gradient(model.parameters()), float(loss.detach())


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
