"""Heun's method of order 3: three stages, the second with weight 0.

K. Heun, Z. Math. Phys. 45 (1900). Hairer, Norsett, Wanner, Solving ODEs I, II.1.
For fixed steps.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

HEUN3 = ButcherTableau(
    name="heun3",
    order=3,
    a=((), (1 / 3,), (0.0, 2 / 3)),
    b=(1 / 4, 0.0, 3 / 4),
    c=(0.0, 1 / 3, 2 / 3),
)
