"""A batch that several processes share by its rows: what must not depend on how many they are.

A process of a run on many devices computes the loss of its rows alone. Noise is drawn for all rows
and cut, and sums over the batch are sums over all processes, so that the loss is that of the whole
batch. In a run of one process there is no share, and nothing here does anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from symadj.errors import IncompatibleError


@dataclass(frozen=True)
class Share:
    """The rows from `start` to `stop` of a batch that has `rows` of them."""

    start: int
    stop: int
    rows: int

    @staticmethod
    def of(rows: int, rank: int, devices: int) -> Share:
        """The share of a rank: the first ones have a row more where the rows do not divide.

        Raises:
            IncompatibleError: there is not a row for each.
        """
        if rows < devices:
            raise IncompatibleError(
                f"a batch of {rows} rows cannot be shared by devices={devices}; take "
                f"devices={rows} or fewer, or a larger train.batch_size."
            )
        each, more = divmod(rows, devices)
        start = rank * each + min(rank, more)
        return Share(start, start + each + (rank < more), rows)

    @property
    def weight(self) -> float:
        """The part of the whole batch that it is."""
        return (self.stop - self.start) / self.rows

    def cut(self, whole: Tensor) -> Tensor:
        """Its rows of a tensor [rows, ...]."""
        return whole[self.start : self.stop]


_SHARE: ContextVar[Share | None] = ContextVar("share", default=None)


@contextmanager
def sharing(share: Share) -> Iterator[None]:
    """Within it the batch in hand is this share of a larger one."""
    token = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(token)


def drawn(shape: Sequence[int], draw: Callable[[tuple[int, ...]], Tensor]) -> Tensor:
    """Random numbers for every row of the batch in hand: draw(shape), or a share's rows of it.

    Args:
        shape: of the numbers; the first dimension is the batch.
        draw: draws numbers of a shape.

    Raises:
        IncompatibleError: the first dimension is not that of the share.
    """
    share = _SHARE.get()
    if share is None:
        return draw(tuple(shape))
    if shape[0] != share.stop - share.start:
        raise IncompatibleError(
            f"noise of {shape[0]} rows for a share of {share.stop - share.start} rows: with "
            "devices=2 and more the first dimension of the noise must be the batch's. Take "
            "devices=1."
        )
    # A copy: the numbers of the other rows are not to be held.
    return share.cut(draw((share.rows, *shape[1:]))).clone()


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and (unbiased) variance over the whole batch's rows x [rows, ...], differentiable."""
    share = _SHARE.get()
    if share is None:
        var, mean = torch.var_mean(x, dim=0)
        return mean, var
    mean = _SumOverRanks.apply(x.sum(0)) / share.rows
    return mean, _SumOverRanks.apply((x - mean).square().sum(0)) / (share.rows - 1)


def row_count(x: Tensor) -> int:
    """The rows of the whole batch of which x [rows, ...] is what this process has."""
    share = _SHARE.get()
    return len(x) if share is None else share.rows


class _SumOverRanks(torch.autograd.Function):
    """The sum of a tensor over all ranks, which every rank's loss depends on."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return summed(x)

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> Tensor:
        return summed(cotangents[0])


def summed(x: Tensor) -> Tensor:
    """The sum of a tensor over all ranks of torch's default process group; of one rank, itself."""
    total = x.detach().clone(memory_format=torch.contiguous_format)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
    return total
