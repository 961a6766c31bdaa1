"""The derivative of a continuous extension."""

from __future__ import annotations

import numpy as np
from numpy.polynomial import chebyshev

_COUNT = 10
_POINTS = np.cos(np.pi * (np.arange(_COUNT) + 0.5) / _COUNT)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_POINTS, _COUNT - 1))
_DERIVATIVE = chebyshev.chebder(np.eye(_COUNT))

NODES = tuple(float(x) for x in (_POINTS + 1) / 2)
"""The theta at which a continuous extension is looked at."""


def slope_weights(theta: float) -> list[float]:
    """Weights w_j with p'(theta) = sum_j w_j p(NODES[j]) for all polynomials of degree 9 or less.

    The polynomial through the values is written in Chebyshev's polynomials and differentiated.
    """
    values = chebyshev.chebvander(np.asarray([2 * theta - 1]), _COUNT - 2)[0]
    return (2 * values @ _DERIVATIVE @ _TO_COEFFICIENTS).tolist()
