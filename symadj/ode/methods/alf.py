"""Asynchronous leapfrog, and symmetric compositions of it of order 4 and 6.

Mutze: "An asynchronous leapfrog method II", arXiv:1311.6602 (2013). Zhuang, Dvornek, Tatikonda,
Duncan: "MALI: A memory efficient and reverse accurate integrator for Neural ODEs", ICLR 2021,
arXiv:2102.04668 (with damping). Compositions: Suzuki, Phys. Lett. A 146 (1990), for order 4; Kahan,
Li, Math. Comp. 66 (1997), for order 6. That compositions of reversible steps make reversible
methods of higher order: Maslovskaya, Ober-Blöbaum, Offen, Singh, Wembe: arXiv:2410.09537 (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from symadj.ode.methods.base import Attempt, Evaluate
from symadj.ode.methods.general_linear import Coefficients, GeneralLinear, Inverse, Sum, hermite

Y, V = 0, 1


class AsynchronousLeapfrog(GeneralLinear):
    """On (y, v), where v begins as f(t0, y0), for every part g of a step, with m = g h:

        Y = y + m/2 v,    k = f(t + m/2, Y),    v' = v + 2 eta (k - v),    y' = Y + m/2 v'

    and its inverse Y = y' - m/2 v', v = (v' - 2 eta k) / (1 - 2 eta), y = Y - m/2 v: a step can be
    taken back with the same evaluations. Undamped (eta = 1) it is symmetric and of order 2, so that
    symmetric compositions have the order 4 and 6. With damping, eta < 1, the order is 1, and the
    way back amplifies rounding by 1 / |1 - 2 eta| a step.

    The error estimate of one part is h (k - v), of the second order in h. That of a composition is
    the difference of y' - y from a quadrature of its k_i that is exact for polynomials up to
    degree 2, and of the fourth order.

    Args:
        name: of the method.
        order: p.
        parts: the g of a step; they add up to 1.
        damping: eta.
    """

    uses_to_begin = 1

    def __init__(self, name: str, order: int, parts: Sequence[float], damping: float = 1.0) -> None:
        self.name = name
        self.order = order if damping == 1 else 1
        self.parts = tuple(parts)
        self.damping = damping
        self.states = 2
        self.stages = self.uses = len(self.parts)
        self.end = None
        self.error_order = 2 if len(self.parts) == 1 else 4
        starts = np.cumsum([0.0, *self.parts[:-1]])
        self.nodes = tuple(float(s + g / 2) for s, g in zip(starts, self.parts, strict=True))

    def begin(
        self, evaluate: Evaluate, t0: float, y0: Tensor, k0: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(y0, f(t0, y0))."""
        return torch.stack([y0, evaluate(t0, y0) if k0 is None else k0]), None

    def coefficients(self, h: float) -> Coefficients:
        """Of a step of the length h."""
        return _coefficients(self.parts, self.damping, self.nodes, h)

    def dense_sum(self, h: float, theta: float) -> Sum:
        """Hermite's cubic, with v for the derivative at both ends."""
        y, v = self.coefficients(h).ends
        return hermite(theta, h, Sum.of({Y: 1.0}), Sum.of({V: 1.0}), y, v)

    def retry(self, attempt: Attempt) -> Tensor | None:
        """Nothing: the first stage lies half a step on."""
        return None


@lru_cache(maxsize=4096)
def _coefficients(
    parts: tuple[float, ...], damping: float, nodes: tuple[float, ...], h: float
) -> Coefficients:
    kept, count = 1 - 2 * damping, len(parts)
    y, v = Sum.of({Y: 1.0}), Sum.of({V: 1.0})
    stages: list[Sum] = []
    for i, g in enumerate(parts):
        stages.append(y + v * (g * h / 2))
        v = v * kept + Sum.of({}, {i: 2 * damping})
        y = stages[-1] + v * (g * h / 2)
    error = y + Sum.of({Y: -1.0}, {i: -h * w for i, w in enumerate(_quadrature(nodes))})
    if count == 1:
        error = Sum.of({V: -h}, {0: h})
    inverse = None
    if kept != 0:
        inverse = _inverse(parts, damping, h)
    return Coefficients(tuple(stages), (y, v), (error,), inverse)


def _inverse(parts: tuple[float, ...], damping: float, h: float) -> Inverse:
    count = len(parts)
    y, v = Sum.of({Y: 1.0}), Sum.of({V: 1.0})
    stages = [y] * count
    for i in reversed(range(count)):
        half = parts[i] * h / 2
        stages[i] = y + v * -half
        v = (v + Sum.of({}, {i: -2 * damping})) * (1 / (1 - 2 * damping))
        y = stages[i] + v * -half
    return Inverse(tuple(reversed(range(count))), tuple(stages), (y, v))


@lru_cache(maxsize=64)
def _quadrature(nodes: tuple[float, ...]) -> tuple[float, ...]:
    """Weights on the nodes, of least norm, that integrate 1, c and c^2 over [0, 1] exactly."""
    degree = min(3, len(nodes))
    powers = np.vander(np.asarray(nodes), degree, increasing=True).T
    wanted = 1 / np.arange(1, degree + 1)
    return tuple(float(w) for w in np.linalg.lstsq(powers, wanted, rcond=None)[0])


def _in_halves(parts: Sequence[float]) -> tuple[float, ...]:
    """Every part as two steps of half its length.

    One step turns the sign of v - f, two are near the identity for short steps, which is what the
    order of a composition rests on: of single steps none has an order above 4.
    """
    return tuple(g / 2 for g in parts for _ in range(2))


_SUZUKI = 1 / (4 - 4 ** (1 / 3))
_KAHAN_LI = (
    *(0.39216144400731413928, 0.33259913678935943860, -0.70624617255763935981),
    0.08221359629355080023,
)

ALF = AsynchronousLeapfrog("alf", 2, (1.0,))
ALF4 = AsynchronousLeapfrog(
    "alf4", 4, _in_halves((_SUZUKI, _SUZUKI, 1 - 4 * _SUZUKI, _SUZUKI, _SUZUKI))
)
ALF6 = AsynchronousLeapfrog(
    "alf6", 6, _in_halves((*_KAHAN_LI, 1 - 2 * sum(_KAHAN_LI), *reversed(_KAHAN_LI)))
)
