"""The trapezoidal rule: order 2, A-stable."""

from __future__ import annotations

from symadj.ode.methods.implicit_tableau import ImplicitTableau

TRAPEZOID = ImplicitTableau(
    name="trapezoid",
    order=2,
    a=((0.0, 0.0), (1 / 2, 1 / 2)),
    b=(1 / 2, 1 / 2),
    c=(0.0, 1.0),
)
