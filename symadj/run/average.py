"""An exponential moving average of the weights (Polyak & Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from symadj.errors import InputError


class Average:
    """The average a of a model's trained weights w: a <- decay a + (1 - decay) w, a = w at first.

    Args:
        weights: the trained weights.
        decay: in (0, 1).
    """

    def __init__(self, weights: Sequence[nn.Parameter], decay: float) -> None:
        self.weights = list(weights)
        self.values = [weight.detach().clone() for weight in self.weights]
        self._mix = get_ema_multi_avg_fn(decay)

    @staticmethod
    def of(model: nn.Module, decay: float | None) -> Average:
        """The average of a model's weights; of none of them where there is no decay."""
        if decay is None:
            return Average([], 0.0)
        return Average([p for p in model.parameters() if p.requires_grad], decay)

    def update(self) -> None:
        """Takes in the weights as they are now."""
        if self.values:
            self._mix(self.values, [weight.detach() for weight in self.weights], None)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within it the model has the averaged weights."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> list[Tensor]:
        """The averaged weights, for a checkpoint."""
        return [value.cpu().clone() for value in self.values]

    def restore(self, state: Sequence[Tensor]) -> None:
        """Goes back to a checkpoint's state.

        Raises:
            InputError: it is that of another model or of a run without average.
        """
        if [value.shape for value in state] != [value.shape for value in self.values]:
            raise InputError("its average does not fit the model and train.ema.")
        for value, saved in zip(self.values, state, strict=True):
            value.copy_(saved)

    def swap(self) -> None:
        """Exchanges the weights and their average."""
        with torch.no_grad():
            for weight, value in zip(self.weights, self.values, strict=True):
                kept = weight.detach().clone()
                weight.copy_(value)
                value.copy_(kept)
