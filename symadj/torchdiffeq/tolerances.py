"""Tolerances that may differ from part to part of a state, or from entry to entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError
from symadj.ode.layout import StateLayout


def tolerance_of(name: str, given: Any, layout: StateLayout) -> tuple[float, Tensor | None]:
    """The least of a tolerance's entries, and the tensor of all where they may differ.

    Args:
        name: for messages.
        given: a number; for a tensor state a tensor that broadcasts with it; for a tuple one entry
            a part, each a number or a tensor of the part's entries.
        layout: of the state.

    Raises:
        InputError: anything else, or an entry that is negative or NaN.
    """
    if isinstance(given, Tensor) and given.requires_grad:
        raise InputError(f"{name} requires a gradient, and no gradient reaches it. Detach it.")
    single = isinstance(given, Tensor) and given.dim() == 0
    if single or not isinstance(given, Iterable) or isinstance(given, str):
        return _number(name, given), None
    flat = _entries(name, given, layout)
    if not bool((flat >= 0).all()):
        raise InputError(f"{name} has an entry that is negative or NaN; all must be at least 0.")
    return float(flat.amin()) if flat.numel() else 0.0, flat


def _entries(name: str, given: Any, layout: StateLayout) -> Tensor:
    """In the engine's layout."""
    like: dict[str, Any] = {"dtype": layout.time_dtype, "device": layout.device}
    try:
        if layout.bare:
            return torch.as_tensor(given, **like).expand(layout.shapes[0])
        entries = [torch.as_tensor(entry, **like) for entry in given]
        flat = [
            (e.reshape(-1) if e.dim() > 1 else e).expand(n)
            for e, n in zip(entries, layout.sizes, strict=True)
        ]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{name}={given!r} does not fit a state of shapes "
            f"{[tuple(s) for s in layout.shapes]}: a number, a tensor that broadcasts with the "
            f"state, or for a tuple one entry a part ({error})."
        ) from None
    return torch.cat(flat)


def _number(name: str, given: Any) -> float:
    try:
        return float(given)
    except (TypeError, ValueError):
        raise InputError(f"{name}={given!r}; it must be a number or a tensor.") from None
