"""The reversible Heun method: order 2, one evaluation a step.

Kidger, Foster, Li, Lyons: "Efficient and Accurate Gradients for Neural SDEs", NeurIPS 2021,
arXiv:2105.13493.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from symadj.ode.methods.base import Evaluate
from symadj.ode.methods.general_linear import Coefficients, GeneralLinear, Inverse, Sum, hermite

Y, Z = 0, 1


class ReversibleHeun(GeneralLinear):
    """On (y, z), where z begins as y0:

        z' = 2 y - z + h f(t, z),    y' = y + h/2 (f(t, z) + f(t', z'))

    and back z = 2 y' - z' - h f(t', z'), y = y' - h/2 (f(t, z) + f(t', z')). f(t', z') is the next
    step's first stage. The error estimate is h/2 (f(t', z') - f(t, z)), of the second order.
    """

    name = "reversible_heun"
    order = 2
    error_order = 2
    states = 2
    stages = 2
    end = 1
    uses = 2
    nodes = (0.0, 1.0)

    def uses_in(self, steps: int) -> int:
        """One a step, whose first stage is the last one's second, and that at the start."""
        return steps + 1

    def begin(
        self, evaluate: Evaluate, t0: float, y0: Tensor, k0: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(y0, y0)."""
        return torch.stack([y0, y0]), k0

    def coefficients(self, h: float) -> Coefficients:
        """Of a step of the length h."""
        return _coefficients(h)

    def dense_sum(self, h: float, theta: float) -> Sum:
        """Hermite's cubic, with f at z for the derivative."""
        f0, f1 = Sum.of({}, {0: 1.0}), Sum.of({}, {1: 1.0})
        return hermite(theta, h, Sum.of({Y: 1.0}), f0, _coefficients(h).ends[Y], f1)


@lru_cache(maxsize=4096)
def _coefficients(h: float) -> Coefficients:
    z = Sum.of({Y: 2.0, Z: -1.0}, {0: h})
    y = Sum.of({Y: 1.0}, {0: h / 2, 1: h / 2})
    back = Sum.of({Y: 2.0, Z: -1.0}, {1: -h})
    start = Sum.of({Y: 1.0}, {0: -h / 2, 1: -h / 2})
    last = Sum.of({Z: 1.0})
    return Coefficients(
        stages=(last, z),
        ends=(y, z),
        errors=(Sum.of({}, {0: -h / 2, 1: h / 2}),),
        inverse=Inverse((1, 0), (back, last), (start, back)),
    )


REVERSIBLE_HEUN = ReversibleHeun()
