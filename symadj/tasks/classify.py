"""Classification: a network learns the classes of the data, for goals that ask for one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.calls.integrator import Integrator
from symadj.data.base import Batch, VectorData
from symadj.errors import InputError
from symadj.ranges import require
from symadj.share import drawn
from symadj.tasks.base import Task


class Classification(Task):
    """The cross-entropy of the labels in nats, -log p(label | x), mean over the batch.

    Nothing is solved. Metrics are "loss" and "accuracy", the part of the rows whose likeliest class
    is theirs.

    Args:
        noise: deviation of normal noise that is added to every row in training, in units of the
            data: what a classifier sees in noise does not guide well.

    Raises:
        InputError: a number out of its range.
    """

    monitor = "loss"
    tracked = ("accuracy",)
    solves = False

    def __init__(self, noise: float = 0.0) -> None:
        require("task", noise=noise)
        self.noise = noise

    def bind(self, data: Any, model: nn.Module, integrator: Integrator) -> None:
        """Refuses data without labels and a model that gives no logits.

        Raises:
            InputError: either.
        """
        if not isinstance(data, VectorData) or not data.labels:
            raise InputError(
                f"task=classify learns labels, and data={getattr(data, 'name', data)} have none. "
                "Take data=digits or data=mnist5k."
            )
        like = next(model.parameters())
        try:
            with torch.no_grad():
                shape = tuple(model(data.test[:1].to(like)).shape)
        except (TypeError, RuntimeError, ValueError):
            shape = None
        if shape != (1, data.classes):
            raise InputError(
                f"task=classify needs a model that gives logits [B, {data.classes}] of rows "
                f"[B, {data.dim}], and {type(model).__name__} does not. Take "
                "model=classifier_mlp, or model=classifier_conv for images."
            )

    def sample_batch(self, data: VectorData, n: int, generator: torch.Generator) -> Batch:
        """n rows with their labels."""
        return data.sample_labelled(n, generator)

    def split(self, data: VectorData, name: str) -> Batch:
        """A split's rows with their labels."""
        return getattr(data, name), data.labels[name]

    def loss(
        self, model: nn.Module, batch: tuple[Tensor, Tensor], integrator: Integrator
    ) -> Tensor:
        """The loss of rows [B, dim] with labels [B], a scalar."""
        x, label = batch
        if self.noise:
            x = x + self.noise * drawn(
                x.shape, lambda shape: torch.randn(shape, dtype=x.dtype, device=x.device)
            )
        return F.cross_entropy(model(x), label)

    def evaluate(
        self,
        model: nn.Module,
        x: tuple[Tensor, Tensor],
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """ "loss" and "accuracy" over all rows of a split, without noise."""
        loss = right = 0.0
        with torch.no_grad():
            for rows, label in zip(x[0].split(batch_size), x[1].split(batch_size), strict=True):
                logits = model(rows)
                loss += F.cross_entropy(logits, label, reduction="sum").double().item()
                right += int((logits.argmax(1) == label).sum())
        return {"loss": loss / len(x[0]), "accuracy": right / len(x[0])}
