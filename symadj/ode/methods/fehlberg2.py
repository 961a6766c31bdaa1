"""Fehlberg's pair RK1(2): order 2 propagated, three stages.

E. Fehlberg, NASA TR R-315 (1969). The first-order solution has the weights 1/256, 255/256; the
error estimate is the difference of the two, h^2 y''/512 where Heun's is h^2 y''/2: choose the
tolerance accordingly tighter.
"""

from __future__ import annotations

from symadj.ode.methods.tableau import ButcherTableau

FEHLBERG2 = ButcherTableau(
    name="fehlberg2",
    order=2,
    a=((), (1 / 2,), (1 / 256, 255 / 256)),
    b=(1 / 512, 255 / 256, 1 / 512),
    c=(0.0, 1 / 2, 1.0),
    b_err=(-1 / 512, 0.0, 1 / 512),
    error_order=2,
)
