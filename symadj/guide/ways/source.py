"""Guiding by the noise: it is moved until its sample is what is wanted."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from symadj.guide.descent import descent_named
from symadj.guide.sampler import Guided, Loss, Sampler
from symadj.guide.ways.base import Watch, Way, sampled, unwatched
from symadj.ranges import require


class Source(Way):
    """Minimises, for every sample on its own,

        loss(x(t1)) + prior * (|x0|^2 / 2 - (d - 1) log |x0|)

    over the noise x0, through the whole solve: D-Flow (Ben-Hamu et al. 2024, arXiv:2402.14017). The
    second term is minus the log density of the norm of d normal numbers, up to a constant. What is
    returned is, for every sample, the noise of the least sum that was met.

    Args:
        optimizer: "lbfgs" (`symadj.guide.descent.LBFGS`) or "adam".
        evaluations: solves with their gradient.
        lr: Adam's learning rate, or the length of the first trial step of L-BFGS, in units of the
            noise.
        prior: weight of the second term.

    Raises:
        InputError: an unknown optimizer or a number out of its range.
    """

    keeps_best: ClassVar[bool] = True

    def __init__(
        self,
        optimizer: str = "lbfgs",
        evaluations: int = 30,
        lr: float = 1.0,
        prior: float = 0.0,
    ) -> None:
        require("way", evaluations=evaluations, lr=lr, prior=prior)
        descent_named(optimizer, lr)
        self.optimizer, self.evaluations, self.lr, self.prior = optimizer, evaluations, lr, prior

    def uses(self, sampler: Sampler) -> int:
        """`Way.uses`."""
        return self.evaluations

    def __call__(
        self, sampler: Sampler, loss: Loss, x0: Tensor, watch: Watch = unwatched
    ) -> Guided:
        """`Way.__call__`."""
        descent = descent_named(self.optimizer, self.lr)
        x = best = x0.detach()
        least = torch.full_like(x0.flatten(1)[:, 0], torch.inf)
        for number in range(1, self.evaluations + 1):
            losses, gradient = sampler.value_and_gradient(loss, x)
            watch(number, losses)
            if self.prior:
                term, slope = _rarity(x)
                losses, gradient = losses + self.prior * term, gradient + self.prior * slope
            better = losses < least
            least = torch.where(better, losses, least)
            best = torch.where(better.reshape(-1, *[1] * (x.dim() - 1)), x, best)
            if number < self.evaluations:
                x = descent.next(x, losses, gradient)
        return sampled(sampler, loss, best)

    def once(self, sampler: Sampler, loss: Loss, x0: Tensor) -> None:
        """`Way.once`."""
        sampler.value_and_gradient(loss, x0)


def _rarity(x: Tensor) -> tuple[Tensor, Tensor]:
    """|x|^2 / 2 - (d - 1) log |x| of every sample [B], and its gradient [B, ...]."""
    flat = x.flatten(1)
    square, d = flat.square().sum(1), flat.shape[1]
    slope = flat * (1 - (d - 1) / square).unsqueeze(1)
    return 0.5 * (square - (d - 1) * square.log()), slope.reshape(x.shape)
