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

    def __post_init__(self) -> None:
        if not (self.lr > 0 and math.isfinite(self.lr)):
            raise InputError(f"optim.lr={self.lr}; it must be above 0.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"optim.betas={list(self.betas)}; two numbers in [0, 1) are needed.")
        for name in ("weight_decay", "final", "warmup"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise InputError(f"optim.{name}={value}; it must be at least 0.")
        if self.final > 1:
            raise InputError(f"optim.final={self.final}; it is a fraction of lr, at most 1.")

    def build(self, parameters: Iterable[nn.Parameter], steps: int) -> tuple[Optimizer, LambdaLR]:
        """The optimiser and its schedule, to be stepped once per iteration.

        Args:
            parameters: what is trained.
            steps: iterations of the whole run.
        """
        make = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        optimizer = make(parameters, lr=self.lr, betas=self.betas, weight_decay=self.weight_decay)
        return optimizer, LambdaLR(optimizer, lambda done: self.factor(done, steps))

    def factor(self, done: int, steps: int) -> float:
        """The fraction of `lr` that the next iteration uses, after `done` of `steps`."""
        rise = min(1.0, (done + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return rise
        share = min(1.0, done / max(1, steps))
        return rise * (self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2)
