"""What a way of guiding is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from symadj.guide.sampler import Guided, Loss, Sampler, checked_losses

Watch = Callable[[int, Tensor], object]
"""Told of every use of the gradient: its number, from 1, and the losses [B] found there."""


def unwatched(number: int, losses: Tensor) -> None:
    """Tells nobody."""


class Way(ABC):
    """Moves samples to where a loss is small, by its gradient through the sampler.

    Attributes:
        moves_weights: whether it changes the field's parameters, and not the samples one by one.
        keeps_best: whether it comes to the least loss that each sample has had.
    """

    moves_weights: ClassVar[bool] = False
    keeps_best: ClassVar[bool] = False

    @abstractmethod
    def uses(self, sampler: Sampler) -> int:
        """How many gradients it takes.

        Raises:
            InputError: the sampler's solver does not go with this way.
        """

    @abstractmethod
    def __call__(
        self, sampler: Sampler, loss: Loss, x0: Tensor, watch: Watch = unwatched
    ) -> Guided:
        """Guides a batch.

        Args:
            sampler: field, solver and gradient method.
            loss: of every sample, [B, ...] -> [B], differentiable.
            x0: noise, [B, ...].
            watch: told of every gradient.

        Raises:
            InputError: settings, a solver or a loss that cannot be used.
            SolveError: a solve does not come to its end, or a state became infinite.
        """

    @abstractmethod
    def once(self, sampler: Sampler, loss: Loss, x0: Tensor) -> None:
        """Computes the first of its gradients and moves nothing: what a meter looks at."""


def sampled(sampler: Sampler, loss: Loss, x0: Tensor) -> Guided:
    """The samples of this noise with their losses and their path, unguided from here on."""
    path, times = sampler.path(x0)
    with torch.no_grad():
        losses = checked_losses(loss, path[-1])
    return Guided(x0, path[-1], losses, path, times)
