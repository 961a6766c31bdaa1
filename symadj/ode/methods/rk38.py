"""Kutta's 3/8 rule: order 4, four stages, smaller error constants than the classical method.

W. Kutta, Z. Math. Phys. 46 (1901). Hairer, Norsett, Wanner, Solving ODEs I, II.1.
For fixed grids. torchdiffeq has it under the name rk4.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

RK38 = ButcherTableau(
    name="rk38",
    order=4,
    a=((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)),
    b=(1 / 8, 3 / 8, 3 / 8, 1 / 8),
    c=(0.0, 1 / 3, 2 / 3, 1.0),
)
