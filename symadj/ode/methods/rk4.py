"""The classical Runge-Kutta method: order 4, four stages.

W. Kutta, Z. Math. Phys. 46 (1901). Hairer, Norsett, Wanner, Solving ODEs I, II.1.
The one to take on a fixed grid. What torchdiffeq calls rk4 is the 3/8 rule, `rk38` here.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

RK4 = ButcherTableau(
    name="rk4",
    order=4,
    a=((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)),
    b=(1 / 6, 1 / 3, 1 / 3, 1 / 6),
    c=(0.0, 1 / 2, 1 / 2, 1.0),
)
