"""Rows that do not depend on each other, in blocks that fit a cache and shares for every thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

Maps = Sequence[Tensor | None]
"""W_1, b_1, ..., W_L, b_L; None for a map without b."""

# What a thread works on at a time, values and tangents of a layer, fits into its core's cache: an
# elementwise operation then costs a fraction of what it does in memory, and what is held at once is
# a block's.
BLOCK_BYTES = 1 << 20
# Of fewer multiplications in all a share is not worth a product of its own.
SHARED = 1 << 24


def shares_of(rows: Tensor, maps: Maps) -> int:
    """Into how many shares the rows go: one for each thread of a CPU, or one for all."""
    work = 2 * len(rows) * sum(m.numel() for m in maps if m is not None)
    if rows.device.type != "cpu" or work < SHARED:
        return 1
    return min(torch.get_num_threads(), len(rows))


def row_blocks(shares: int, maps: Maps, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """All rows of the tensors, in their order, block by block: [R, n], or in shares [S, R, n].

    With a share for every thread a batched product gives each of them a whole product of its own,
    where they would meet within one, and an elementwise operation the very rows that it has in its
    cache. Rows that are over are a last block without shares. On a GPU there is one block.

    Args:
        shares: S.
        maps: what the rows are multiplied with; the size of a row's activations follows.
        tensors: [B, n], of the same B.
    """
    first = tensors[0]
    rows = len(first)
    if first.device.type != "cpu" or rows == 0:
        yield tensors
        return
    widest = max(m.shape[0] for m in maps if m is not None)
    each = rows // shares
    blocks = min(each, -(-each * 2 * widest * first.element_size() // BLOCK_BYTES))
    if shares == blocks == 1:
        yield tensors
        return
    start = 0
    for k in range(blocks):
        size = each * (k + 1) // blocks - each * k // blocks
        parts = (tensor.narrow(0, start, shares * size) for tensor in tensors)
        yield tuple(p.unflatten(0, (shares, size)) for p in parts) if shares > 1 else tuple(parts)
        start += shares * size
    if start < rows:
        yield tuple(tensor[start:] for tensor in tensors)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W + b for rows x [R, n] or [S, R, n], W [n, m], b [m]."""
    if x.dim() == 2:
        return torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)
    y = torch.bmm(x, weight.expand(len(x), *weight.shape))
    return y if bias is None else y.add_(bias)


def add_product(total: Tensor, v: Tensor, x: Tensor) -> None:
    """Adds v^T x of all rows to [n, m], or of every share's rows to its own of [S, n, m]."""
    if total.dim() == 2:
        total.addmm_(v.flatten(0, -2).t(), x.flatten(0, -2))
    else:
        total.baddbmm_(v.mT, x)


def add_rows(total: Tensor, v: Tensor) -> None:
    """Adds the sum of all rows v to [n], or of every share's rows to its own of [S, n]."""
    total.add_(v.flatten(0, -2).sum(0) if total.dim() == 1 else v.sum(-2))


class ShareSums:
    """Sums over all rows, to which every share adds apart from the others if they are small.

    Args:
        shares: S.
        totals: what the sums are added to in the end, in place; None where no sum is wanted. One
            that is larger than a block has no other sums beside it.
    """

    def __init__(self, shares: int, totals: Sequence[Tensor | None]) -> None:
        self._totals = totals
        self._own = totals if shares == 1 else [_apart(shares, total) for total in totals]

    def of(self, block: Tensor) -> Sequence[Tensor | None]:
        """Those that a block adds to: with shares [S, ...] for the small ones, else [...]."""
        if self._own is self._totals or block.dim() == 3:
            return self._own
        pairs = zip(self._totals, self._own, strict=True)
        return [own if own is total or own is None else own[0] for total, own in pairs]

    def close(self) -> None:
        """Adds them to the totals."""
        if self._own is self._totals:
            return
        for total, own in zip(self._totals, self._own, strict=True):
            if total is not None and own is not None and own is not total:
                total.add_(own.sum(0))


def _apart(shares: int, total: Tensor | None) -> Tensor | None:
    if total is None or total.nbytes > BLOCK_BYTES:
        return total
    return total.new_zeros(shares, *total.shape)


def rows_of(blocks: Sequence[Tensor]) -> Tensor:
    """The rows of all blocks, [B, n]."""
    parts = [block if block.dim() == 2 else block.flatten(0, 1) for block in blocks]
    return parts[0] if len(parts) == 1 else torch.cat(parts)
