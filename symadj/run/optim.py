"""Optimisers with their learning-rate schedule, as configs/optim names them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from symadj.errors import InputError
from symadj.ranges import check_settings


@dataclass(frozen=True)
class Adam:
    """Adam (Kingma & Ba 2015) with a learning rate that may warm up and decay.

    Attributes:
        lr: learning rate after the warm-up.
        betas: decay rates of the two moments.
        weight_decay: added to the gradient, or taken off the weights where `decoupled`.
        decoupled: AdamW (Loshchilov & Hutter 2019).
        schedule: "constant", or "cosine": half a cosine from `lr` down to `final` * `lr` over the
            run's iterations.
        final: the fraction of `lr` that the cosine ends at.
        warmup: iterations over which the rate rises linearly from 0.
        plateau: validations without improvement after which the rate drops, and again after as many
            more: it is `lr` * `plateau_factor`^k once there were more than k * `plateau` of them in
            a row, and stays so after an improvement; None: it does not drop.
        plateau_factor: what it drops by.
        plateau_drops: the largest k.

    Raises:
        InputError: a value out of its range.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    decoupled: bool = False
    schedule: Literal["constant", "cosine"] = "constant"
    final: float = 0.0
    warmup: int = 0
    plateau: int | None = None
    plateau_factor: float = 0.1
    plateau_drops: int = 2

    def __post_init__(self) -> None:
        check_settings("optim", vars(self), shown="")
        if len(self.betas) != 2:
            raise InputError(f"betas={list(self.betas)}; two numbers are needed.")

    def build(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimiser and its schedule, to be stepped once per iteration.

        Args:
            parameters: what is trained.
            steps: iterations of the whole run.
        """
        # torch refuses a pair of which one is a whole number.
        betas = (float(self.betas[0]), float(self.betas[1]))
        make = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        optimizer = make(parameters, lr=self.lr, betas=betas, weight_decay=self.weight_decay)
        return optimizer, LambdaLR(optimizer, lambda done: self.factor(done, steps))

    def drop(self, stale: int) -> float:
        """The most of the schedule's rate that `stale` validations without improvement leave.

        FFJORD's rule is `plateau` 10, `plateau_factor` 0.1, `plateau_drops` 2: a tenth after more
        than 10 such validations, a hundredth after more than 20.
        """
        if self.plateau is None or stale < 1:
            return 1.0
        return self.plateau_factor ** min((stale - 1) // self.plateau, self.plateau_drops)

    def follow(self, stale: int, scheduler: LambdaLR) -> None:
        """Sets the rate after a validation, the `stale`th in a row without improvement."""
        left = min(self.drop(stale) * self.lr, *scheduler.base_lrs)
        scheduler.base_lrs = [left for _ in scheduler.base_lrs]
        for group, factor in zip(
            scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True
        ):
            group["lr"] = left * factor(scheduler.last_epoch)

    def factor(self, done: int, steps: int) -> float:
        """The fraction of `lr` that the next iteration uses, after `done` of `steps`."""
        rise = min(1.0, (done + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return rise
        share = min(1.0, done / max(1, steps))
        return rise * (self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2)
