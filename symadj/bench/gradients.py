"""Gradients as one vector, and how far two of them are apart."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def flat_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """All gradients as one float64 vector on the CPU; zeros where a parameter has none."""
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([part.detach().flatten().double().cpu() for part in parts])


def relative_error(gradient: Tensor, reference: Tensor) -> float:
    """|gradient - reference| / |reference| in the Euclidean norm; 0 where both are zero."""
    error, scale = float((gradient - reference).norm()), float(reference.norm())
    return error / scale if scale else (0.0 if error == 0 else float("inf"))
