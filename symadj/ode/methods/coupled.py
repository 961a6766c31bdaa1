"""Any explicit Runge-Kutta method, made reversible by a coupled second solution.

McCallum, Foster: "Efficient, Accurate and Stable Gradients for Neural ODEs", arXiv:2410.11648
(2024).
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from symadj.ode.methods.base import Attempt, Evaluate
from symadj.ode.methods.general_linear import Coefficients, GeneralLinear, Inverse, Sum, hermite
from symadj.ode.methods.runge_kutta import RungeKutta
from symadj.ode.methods.tableau import ButcherTableau

Y, Z = 0, 1
COUPLING = 0.999
"""As McCallum and Foster take it."""


class Coupled(GeneralLinear):
    """On (y, z), where z begins as y0, with P_h(t, x) the increment of a base method from (t, x):

        y' = c y + (1 - c) z + P_h(t, z),    z' = z - P_{-h}(t', y')

    and back z = z' + P_{-h}(t', y'), y = (y' - (1 - c) z - P_h(t, z)) / c. The order is the base's.
    With a coupling c < 1 the method has a region of stability, and the way back amplifies rounding
    by up to 1 / c a step. A step takes twice the base's evaluations, 2 s. The error estimate is the
    base's at z plus P_h(t, z) + P_{-h}(t', y'), of the order p + 1, by which the two increments
    differ: at long steps the base's alone says too little of the second. Between the ends y is the
    base's continuous extension from z, to which what y differs from z by is added, linearly in
    theta; Hermite's cubic where that would take further stages.

    Args:
        tableau: of the base.
        coupling: c, above 0 and at most 1.
    """

    def __init__(self, tableau: ButcherTableau, coupling: float = COUPLING) -> None:
        self.base = RungeKutta(tableau)
        self.coupling = coupling
        self.name = "reversible"
        self.order = tableau.order
        self.states = 2
        self.error_order = self.base.error_order
        self.end = None
        first, second = self.base.solution_stages, self.base.solution_stages
        for weights in (tableau.b_err, tableau.b_err_low):
            if weights:
                first = tuple(sorted({*first, *tableau.closure(weights)}))
        self.halves = first, second
        self.stages = self.uses = len(first) + len(second)
        nodes = self.base.nodes
        self.nodes = (*(nodes[i] for i in first), *(1 - nodes[i] for i in second))

    def begin(
        self, evaluate: Evaluate, t0: float, y0: Tensor, k0: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(y0, y0)."""
        return torch.stack([y0, y0]), k0

    def retry(self, attempt: Attempt) -> Tensor | None:
        """f(t0, z)."""
        return attempt.ks[0]

    def coefficients(self, h: float) -> Coefficients:
        """Of a step of the length h."""
        return _coefficients(self, h)

    def place(self, half: int) -> dict[int, int]:
        """Where the base's stages of a half lie among those of the step."""
        return {i: half * len(self.halves[0]) + n for n, i in enumerate(self.halves[half])}

    def increment(self, half: int, at: Sum, h: float) -> tuple[list[Sum], Sum]:
        """The base's stages from a state, and P_h."""
        place = self.place(half)
        rows = (self.base.rows[i] for i in place)
        stages = [at + Sum.of({}, {place[j]: h * a for j, a in row}) for row in rows]
        return stages, Sum.of({}, {place[i]: h * b for i, b in self.base.b})

    def dense_sum(self, h: float, theta: float) -> Sum:
        """The base's extension, or Hermite's cubic where that would take further stages."""
        place, weights = self.place(0), self.base.dense_terms(theta)
        if all(i in place for i, _ in weights):
            between = Sum.of({Z: 1.0}, {place[i]: h * w for i, w in weights})
            return between + Sum.of({Y: 1.0, Z: -1.0}) * (1 - theta + theta * self.coupling)
        f0, f1 = Sum.of({}, {0: 1.0}), Sum.of({}, {len(place): 1.0})
        return hermite(theta, h, Sum.of({Y: 1.0}), f0, self.coefficients(h).ends[Y], f1)


@lru_cache(maxsize=4096)
def _coefficients(method: Coupled, h: float) -> Coefficients:
    c = method.coupling
    y, z = Sum.of({Y: 1.0}), Sum.of({Z: 1.0})
    first, first_there = method.increment(0, z, h)
    y1 = y * c + z * (1 - c) + first_there
    second, second_back = method.increment(1, y1, -h)
    z1 = z + second_back * -1.0
    # From the end: the second half's stages, which begin at y', then the first half's.
    from_y1, back = method.increment(1, y, -h)
    z0 = z + back
    from_z0, there = method.increment(0, z0, h)
    y0 = (y + z0 * (c - 1) + there * -1.0) * (1 / c)
    place = method.place(0)
    apart = first_there + second_back
    errors = tuple(
        Sum.of({}, {place[i]: h * e for i, e in terms}) + apart for terms in method.base.errors
    )
    order = (*range(len(first), method.stages), *range(len(first)))
    inverse = Inverse(order, (*from_z0, *from_y1), (y0, z0))
    return Coefficients((*first, *second), (y1, z1), errors, inverse)
