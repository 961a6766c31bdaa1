"""TR-BDF2: the trapezoidal rule, then the second backward differentiation formula; order 2.

M. E. Hosea, L. F. Shampine: "Analysis and implementation of TR-BDF2", Appl. Numer. Math. 20 (1996).
"""

from __future__ import annotations

from symadj.ode.methods.implicit_tableau import ImplicitTableau

_C = 2 - 2**0.5
_D = _C / 2
_W = 2**0.5 / 4

TRBDF2 = ImplicitTableau(
    name="trbdf2",
    order=2,
    a=((0.0, 0.0, 0.0), (_D, _D, 0.0), (_W, _W, _D)),
    b=(_W, _W, _D),
    c=(0.0, _C, 1.0),
    # Less a method of order 3.
    b_err=(_W - (1 - _W) / 3, _W - (3 * _W + 1) / 3, _D - _D / 3),
    error_order=3,
    filter=_D,
)
