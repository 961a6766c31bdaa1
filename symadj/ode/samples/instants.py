"""A time for every sample that takes part in something, where a joint solve has one number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """What all samples of a batch have in common.

    Attributes:
        count: B.
        dims: dimensions of the engine's tensor [B, ...].
        field_dims: of the (first) tensor that the field is given.
        dtype: of lengths of steps, the state's real type.
        device: of the state.
    """

    count: int
    dims: int
    field_dims: int
    dtype: torch.dtype
    device: torch.device

    def every(self) -> np.ndarray:
        """The numbers of all samples."""
        return np.arange(self.count)

    def index(self, rows: np.ndarray) -> Tensor:
        """Numbers of rows as a tensor that indexes."""
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device, non_blocking=True)

    def lengths(self, values: np.ndarray) -> Tensor:
        """Numbers of the samples that broadcast with their states."""
        return self._wide(values).to(self.dtype)

    def _wide(self, values: np.ndarray) -> Tensor:
        wide = values.reshape(-1, *[1] * (self.dims - 1))
        return torch.from_numpy(np.ascontiguousarray(wide)).to(self.device, non_blocking=True)

    def instants(self, rows: np.ndarray, t: np.ndarray) -> Any:
        """The times of these samples, for use in the place of a number (see `Instants`)."""
        return Instants(self, rows, self.index(rows), self._wide(t), t)


@dataclass(frozen=True, eq=False)
class Instants:
    """The times of some samples.

    It stands where a step method, a field and a gradient method have a number: their arithmetic is
    t1 - t0, which gives lengths [A, 1, ..., 1] that broadcast with the states of these A samples,
    and t0 + c h. Two are equal only if they are one object.

    Attributes:
        samples: of the whole batch.
        rows: the numbers of those that are meant.
        index: these on the state's device.
        values: float64 [A, 1, ..., 1], of the engine's dimensions.
        host: the same [A] on the host; None of times between the ends of steps.
    """

    samples: Samples
    rows: np.ndarray
    index: Tensor
    values: Tensor
    host: Any = None

    def __sub__(self, other: Instants) -> Tensor:
        return (self.values - other.values).to(self.samples.dtype)

    def __add__(self, length: Tensor) -> Instants:
        return Instants(self.samples, self.rows, self.index, self.values + length)

    def __getitem__(self, chosen: np.ndarray) -> Any:
        """Those of a part of these samples."""
        at = self.samples.index(chosen)
        host = None if self.host is None else self.host[chosen]
        return Instants(self.samples, self.rows[chosen], self.index[at], self.values[at], host)

    def moved(self, to: Instants) -> Any:
        """These, with the times of the samples in `to` instead of their own."""
        return Instants(
            self.samples,
            self.rows,
            self.index,
            self.values.index_copy(0, to.index, to.values),
        )

    def given(self, dtype: torch.dtype) -> Tensor:
        """As the field is given them, [A, 1, ..., 1] of the dimensions of its state."""
        shape = (-1, *[1] * (self.samples.field_dims - 1))
        return self.values.reshape(shape).to(dtype)

    def __format__(self, spec: str) -> str:
        low, high = self.values.aminmax()
        return f"{float(low):{spec}} to {float(high):{spec}}"
