"""The pair of Bogacki and Shampine: order 3(2), three stages and f(t1, y1) (first same as last).

P. Bogacki, L. F. Shampine, Appl. Math. Lett. 2 (1989). Good at loose tolerances; its continuous
extension is the cubic Hermite polynomial.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

BOSH3 = ButcherTableau(
    name="bosh3",
    order=3,
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
    b_err=(-5 / 72, 1 / 12, 1 / 9, -1 / 8),
    error_order=3,
)
