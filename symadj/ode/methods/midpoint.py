"""The explicit midpoint rule: order 2, two stages, the first with weight 0.

C. Runge, Math. Ann. 46 (1895). Hairer, Norsett, Wanner, Solving ODEs I, II.1.
The cheapest method above order 1; for fixed steps.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

MIDPOINT = ButcherTableau(
    name="midpoint",
    order=2,
    a=((), (1 / 2,)),
    b=(0.0, 1.0),
    c=(0.0, 1 / 2),
)
