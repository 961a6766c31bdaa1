"""Linear combinations of stages, the arithmetic that every Runge-Kutta step consists of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Terms = tuple[tuple[int, Any], ...]
"""(index, weight) of the entries of a sum whose weight is not zero; a weight, and the length h of a
step, is a number, or a tensor that broadcasts with the states where every sample has its own."""


def terms_of(weights: Sequence[Any]) -> Terms:
    """The entries of `weights` that count."""
    return tuple(
        (i, w if isinstance(w, Tensor) else float(w))
        for i, w in enumerate(weights)
        if isinstance(w, Tensor) or w != 0
    )


def combine(y: Tensor, h: float, terms: Terms, ks: Sequence[Tensor | None]) -> Tensor:
    """y + h * sum of w_i k_i over the terms (i, w_i); `y` itself where there are none.

    One new tensor is made and then added to in place, with or without a graph (an addition keeps
    nothing for its backward, so no saved value is overwritten).
    """
    if not terms:
        return y
    (first, weight), *rest = terms
    if isinstance(h, Tensor):
        out = torch.addcmul(y, _there(ks, first), h * weight)
    else:
        out = torch.add(y, _there(ks, first), alpha=h * weight)
    return _added(out, h, rest, ks)


def weighted_sum(h: float, terms: Terms, ks: Sequence[Tensor | None]) -> Tensor:
    """h * sum of w_i k_i over the terms (i, w_i), of which there is at least one."""
    (first, weight), *rest = terms
    return _added(torch.mul(_there(ks, first), h * weight), h, rest, ks)


def _added(out: Tensor, h: Any, terms: Sequence[Any], ks: Sequence[Tensor | None]) -> Tensor:
    if isinstance(h, Tensor):
        for i, w in terms:
            out.addcmul_(_there(ks, i), h * w)
    else:
        for i, w in terms:
            out.add_(_there(ks, i), alpha=h * w)
    return out


def _there(ks: Sequence[Tensor | None], i: int) -> Tensor:
    k = ks[i]
    assert k is not None, f"stage {i} was not evaluated"
    return k
