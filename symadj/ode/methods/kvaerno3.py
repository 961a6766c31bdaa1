"""Kvaerno's method 3(2): four stages, the first explicit, L-stable, stiffly accurate.

A. Kvaerno: "Singly diagonally implicit Runge-Kutta methods with an explicit first stage", BIT
Numer. Math. 44 (2004).
"""

from __future__ import annotations

from symadj.ode.methods.implicit_tableau import ImplicitTableau

# The middle root of 6 x^3 - 18 x^2 + 9 x - 1.
_G = 0.4358665215084590
_LOWER = (
    (-4 * _G**2 + 6 * _G - 1) / (4 * _G),
    (1 - 2 * _G) / (4 * _G),
    _G,
    0.0,
)
_B = (
    (6 * _G - 1) / (12 * _G),
    -1 / ((24 * _G - 12) * _G),
    (-6 * _G**2 + 6 * _G - 1) / (6 * _G - 3),
    _G,
)

KVAERNO3 = ImplicitTableau(
    name="kvaerno3",
    order=3,
    a=((0.0, 0.0, 0.0, 0.0), (_G, _G, 0.0, 0.0), _LOWER, _B),
    b=_B,
    c=(0.0, 2 * _G, 1.0, 1.0),
    # Less the third stage's state, of order 2.
    b_err=tuple(b - low for b, low in zip(_B, _LOWER, strict=True)),
    error_order=3,
)
