"""Guiding by the weights: the network is trained until its samples are what is wanted."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from symadj.errors import InputError, NonFiniteLoss
from symadj.guide.sampler import Guided, Loss, Sampler, checked_losses
from symadj.guide.ways.base import Watch, Way, sampled, unwatched
from symadj.ranges import require


class Weights(Way):
    """Minimises the mean loss of the samples over the weights of the field, by Adam.

    The gradient goes through all steps of the sampler or, with `last` = K, through the last K of
    solver.num_steps alone: DRaFT and DRaFT-K (Clark et al. 2024, arXiv:2309.17400). Every iteration
    has fresh noise, as many samples as are to be shown.

    Args:
        iterations: of Adam.
        lr: its learning rate.
        last: K; None: all steps.
        clip: largest norm of the gradient; None: not clipped.
        seed: of the noise.

    Raises:
        InputError: a number out of its range.
    """

    moves_weights: ClassVar[bool] = True

    def __init__(
        self,
        iterations: int = 50,
        lr: float = 1e-4,
        last: int | None = None,
        clip: float | None = 1.0,
        seed: int = 0,
    ) -> None:
        require("way", iterations=iterations, lr=lr, last=last, clip=clip, seed=seed)
        self.iterations, self.lr, self.last = iterations, lr, last
        self.clip, self.seed = clip, seed

    def uses(self, sampler: Sampler) -> int:
        """`Way.uses`."""
        whole = sampler.num_steps
        if self.last is not None and (whole is None or self.last > whole):
            raise InputError(
                f"last={self.last} with solver.num_steps={whole or 'null'}; the gradient goes "
                "through the last of these steps: give solver.num_steps, at least as many."
            )
        return self.iterations

    def __call__(
        self, sampler: Sampler, loss: Loss, x0: Tensor, watch: Watch = unwatched
    ) -> Guided:
        """`Way.__call__`; the field's parameters are others afterwards."""
        field, uses = sampler.field, self.uses(sampler)
        own = field.parameters() if isinstance(field, nn.Module) else ()
        weights = [weight for weight in own if weight.requires_grad]
        if not weights:
            raise InputError(
                "way=weights trains the weights of the field, and this one has none that need a "
                "gradient. Give a module, or another way."
            )
        optimizer = torch.optim.Adam(weights, lr=self.lr)
        generator = torch.Generator(device=x0.device).manual_seed(self.seed)
        for number in range(1, uses + 1):
            noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
            losses = self.backward(sampler, loss, noise)
            watch(number, losses)
            if self.clip is not None:
                nn.utils.clip_grad_norm_(weights, self.clip)
            optimizer.step()
            optimizer.zero_grad()
        return sampled(sampler, loss, x0.detach())

    def once(self, sampler: Sampler, loss: Loss, x0: Tensor) -> None:
        """`Way.once`; the weights have no gradient afterwards."""
        self.backward(sampler, loss, x0)
        if isinstance(sampler.field, nn.Module):
            sampler.field.zero_grad()

    def backward(self, sampler: Sampler, loss: Loss, noise: Tensor) -> Tensor:
        """Adds the gradient of the mean loss to that of the weights; returns the losses [B].

        Raises:
            NonFiniteLoss: they are not finite.
        """
        t, whole, last = sampler.t0, sampler.num_steps, self.last
        if last is not None and whole is not None and last < whole:
            t = sampler.times(whole)[whole - last]
            with torch.no_grad():
                noise = sampler.carry(noise, sampler.t0, t, whole - last)
        with torch.enable_grad():
            losses = checked_losses(loss, sampler.carry(noise, t, sampler.t1, last))
            if not torch.isfinite(losses).all():
                raise NonFiniteLoss(
                    "the loss of the samples became infinite or NaN. Take a smaller lr, or clip."
                )
            losses.mean().backward()
        return losses.detach()
