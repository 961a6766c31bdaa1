"""The problem that all rows of a group share: one model, one batch, the same noise every time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor

from symadj.bench.gradients import flat_gradient
from symadj.bench.replay import DrawnAs
from symadj.ode.integrator import Integrator
from symadj.run.configs import run_settings
from symadj.run.parts import Parts, build_parts
from symadj.run.seed import seed_everything
from symadj.run.settings import RunSettings


@dataclass
class BenchProblem:
    """A model, a batch and an objective.

    Attributes:
        parts: model, task, solver and gradient method.
        batch: fixed.
        settings: of the run that this would be an iteration of.
    """

    parts: Parts
    batch: Any
    settings: RunSettings

    @staticmethod
    def of(config: Mapping[str, Any]) -> BenchProblem:
        """Makes the problem of a row's configuration; the same seed makes the same problem.

        Raises:
            InputError: a setting that cannot be used.
        """
        node = OmegaConf.create(dict(config))
        settings = run_settings(node)
        seed_everything(settings.seed)
        parts = build_parts(node, settings)
        generator = torch.Generator().manual_seed(settings.seed)
        batch = parts.data.sample_batch(settings.train.batch_size, generator)
        return BenchProblem(parts, parts.place(batch), settings)

    def draw_again(self) -> None:
        """Puts the random numbers back to where every evaluation of the loss starts."""
        # Not the seed of the weights: the noise must not be made of the same numbers.
        seed_everything(self.settings.seed + 1)

    def loss(self, integrator: Integrator) -> Tensor:
        """The objective, a scalar with a graph, on the noise that belongs to the problem."""
        self.draw_again()
        return self.parts.task.loss(self.parts.model, self.batch, integrator)

    def replayed_gradient(self, integrator: Integrator) -> tuple[Tensor, float]:
        """The gradient and the loss in float64: same weights, batch and noise.

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
