"""Linear systems solved by products with their matrix alone.

Y. Saad, M. Schultz: "GMRES", SIAM J. Sci. Stat. Comput. 7 (1986).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Apply = Callable[[Tensor], Tensor]
"""A linear map of tensors of one shape."""

CYCLES = 20
"""After so many restarts a system is given up."""
_FEW = 8
"""So many vectors have room from the beginning: a good preconditioner needs no more."""


@dataclass(frozen=True)
class Solved:
    """An approximate solution.

    Attributes:
        x: it.
        residual: the norm of M (b - A x), relative to that of M b.
        products: with A.
    """

    x: Tensor
    residual: float
    products: int


def gmres(
    apply: Apply,
    b: Tensor,
    *,
    tolerance: float,
    restart: int,
    precondition: Apply | None = None,
) -> Solved:
    """The x in growing Krylov spaces that makes the norm of M (b - A x) least.

    Args:
        apply: A.
        b: the right-hand side, of any shape.
        tolerance: of the relative residual; where rounding bars the way to it, the residual that
            was reached says so.
        restart: vectors that are kept before it begins anew.
        precondition: M, near A^-1; None: the identity.
    """
    precondition = precondition or _identity
    x, residual, products = torch.zeros_like(b), precondition(b), 0
    norm = float(torch.linalg.vector_norm(residual))
    if norm == 0 or not math.isfinite(norm):
        # Zeros, or numbers that are none, as b has them.
        return Solved(residual, 0.0, products)
    beta = norm
    for _ in range(CYCLES):
        step, made = _cycle(apply, precondition, residual, beta, tolerance * norm, restart)
        products += made + 1
        nearer = x + step
        residual = precondition(b - apply(nearer))
        before, beta = beta, float(torch.linalg.vector_norm(residual))
        if not beta < before:
            return Solved(x, before / norm, products)
        x = nearer
        if beta <= tolerance * norm or beta > 0.9 * before:
            break
    return Solved(x, beta / norm, products)


def _cycle(
    apply: Apply, precondition: Apply, residual: Tensor, beta: float, target: float, restart: int
) -> tuple[Tensor, int]:
    """What to add to x, and the products that it took."""
    size = min(restart, residual.numel())
    basis = residual.new_empty((min(size + 1, _FEW), residual.numel()))
    basis[0] = residual.reshape(-1) / beta
    columns: list[list[float]] = []
    rotations: list[tuple[float, float]] = []
    rest = [beta]
    for j in range(size):
        w = precondition(apply(basis[j].view_as(residual))).reshape(-1)
        w, column = _apart(basis[: j + 1], w)
        length = column[-1]
        for i, (c, s) in enumerate(rotations):
            column[i], column[i + 1] = (
                c * column[i] + s * column[i + 1],
                c * column[i + 1] - s * column[i],
            )
        below = column.pop()
        radius = math.hypot(column[j], below)
        c, s = (column[j] / radius, below / radius) if radius > 0 else (1.0, 0.0)
        rotations.append((c, s))
        column[j] = radius
        columns.append(column)
        rest.append(-s * rest[j])
        rest[j] *= c
        if not abs(rest[j + 1]) > target or not radius > 0:
            break
        if j + 1 == len(basis):
            basis = torch.cat([basis, torch.empty_like(basis)])
        basis[j + 1] = w / length
    used = len(columns)
    weights = [0.0] * used
    for i in reversed(range(used)):
        known_part = sum(columns[k][i] * weights[k] for k in range(i + 1, used))
        weights[i] = (rest[i] - known_part) / columns[i][i] if columns[i][i] else 0.0
    with torch.autocast(basis.device.type, enabled=False):
        return (basis.new_tensor(weights) @ basis[:used]).view_as(residual), used


def _apart(known: Tensor, w: Tensor) -> tuple[Tensor, list[float]]:
    """w without its parts along orthonormal vectors, these parts, and the length of the rest."""
    with torch.autocast(w.device.type, enabled=False):
        # Twice is enough for orthogonality to rounding.
        first = known @ w
        w = w - first @ known
        second = known @ w
        w = w - second @ known
    return w, torch.cat([first + second, torch.linalg.vector_norm(w).view(1)]).tolist()


def _identity(x: Tensor) -> Tensor:
    return x
