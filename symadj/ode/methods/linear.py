"""Linear combinations of stages, the arithmetic that every Runge-Kutta step consists of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Terms = tuple[tuple[int, float], ...]
"""(index, weight) of the entries of a sum whose weight is not zero."""


def terms_of(weights: Sequence[float]) -> Terms:
    """The entries of `weights` that count."""
    return tuple((i, float(w)) for i, w in enumerate(weights) if w != 0)


def combine(y: Tensor, h: float, terms: Terms, ks: Sequence[Tensor | None]) -> Tensor:
    """y + h * sum of w_i k_i over the terms (i, w_i); `y` itself where there are none.

    One new tensor is made and then added to in place, with or without a graph (an addition keeps
    nothing for its backward, so no saved value is overwritten).
    """
    if not terms:
        return y
    (first, weight), *rest = terms
    out = torch.add(y, _there(ks, first), alpha=h * weight)
    for i, w in rest:
        out.add_(_there(ks, i), alpha=h * w)
    return out


def weighted_sum(h: float, terms: Terms, ks: Sequence[Tensor | None]) -> Tensor:
    """h * sum of w_i k_i over the terms (i, w_i), of which there is at least one."""
    (first, weight), *rest = terms
    out = torch.mul(_there(ks, first), h * weight)
    for i, w in rest:
        out.add_(_there(ks, i), alpha=h * w)
    return out


def _there(ks: Sequence[Tensor | None], i: int) -> Tensor:
    k = ks[i]
    assert k is not None, f"stage {i} was not evaluated"
    return k
