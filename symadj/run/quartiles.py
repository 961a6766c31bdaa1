"""A sample of seconds in four numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def quartiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median, first and third quartile (linear interpolation) and size of a sample.

    An empty sample has None for the three.
    """
    if len(values) == 0:
        return {"median": None, "q1": None, "q3": None, "n": 0}
    q1, median, q3 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    return {"median": median, "q1": q1, "q3": q3, "n": len(values)}
