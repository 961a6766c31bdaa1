"""The two sides of the times at which a field jumps."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

# The smallest normal number of single precision.
_SMALLEST = 2.0**-126


@dataclass(frozen=True)
class Sides:
    """Tells a step on which side of its ends to evaluate a field that jumps there.

    Attributes:
        jumps: the times of the jumps; None: the ends of all steps.
        eps: the resolution of the field's time.
    """

    jumps: Collection[float] | None
    eps: float

    def jumps_at(self, t: float) -> bool:
        """Whether the field jumps at t."""
        return self.jumps is None or t in self.jumps

    def beside(self, t: float, towards: float) -> float:
        """t; at a jump t + eps |t|, or t - eps |t| where `towards` is negative."""
        if not self.jumps_at(t):
            return t
        return t + math.copysign(self.eps * abs(t) or _SMALLEST, towards)
