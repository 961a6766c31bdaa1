"""Alexander's method of order 2: two stages, L-stable, stiffly accurate.

R. Alexander: "Diagonally implicit Runge-Kutta methods for stiff O.D.E.'s", SIAM J. Numer. Anal. 14
(1977).
"""

from __future__ import annotations

from symadj.ode.methods.implicit_tableau import ImplicitTableau, with_start

_G = 1 - 2**-0.5

SDIRK2 = ImplicitTableau(
    name="sdirk2",
    order=2,
    a=with_start(((_G, 0.0), (1 - _G, _G))),
    b=(0.0, 1 - _G, _G),
    c=(0.0, _G, 1.0),
    # Less y0 + h k_1, of order 1.
    b_err=(0.0, -_G, _G),
    error_order=2,
)
