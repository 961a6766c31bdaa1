"""States to start from and states to arrive at."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from symadj.data.base import Data


class Draws(Data):
    """Pairs of normal draws: a start, and a target for every output time.

    Args:
        shape: of a state.
        outputs: times at which there is a target.
        seed: of the fixed sets.
    """

    name = "draws"
    note = "normal draws, fresh ones in every batch"

    def __init__(self, shape: Sequence[int], outputs: int = 1, seed: int = 0) -> None:
        self.shape = tuple(shape)
        self.outputs = outputs
        self.dim = math.prod(self.shape)
        generator = torch.Generator().manual_seed(seed)
        self.train, self.val, self.test = (self._starts(2, generator) for _ in range(3))

    def sample_batch(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Starts [n, *shape] and targets [outputs, n, *shape]."""
        targets = torch.randn(self.outputs, n, *self.shape, generator=generator)
        return self._starts(n, generator), targets

    def _starts(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randn(n, *self.shape, generator=generator)
