"""Heun's method with Euler's embedded: order 2(1), two stages.

K. Heun, Z. Math. Phys. 45 (1900). The adaptive Heun of the paper's comparison of orders.
For loose tolerances; at tight ones its steps become many.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

HEUN = ButcherTableau(
    name="heun",
    order=2,
    a=((), (1.0,)),
    b=(1 / 2, 1 / 2),
    c=(0.0, 1.0),
    b_err=(-1 / 2, 1 / 2),
    error_order=2,
)
