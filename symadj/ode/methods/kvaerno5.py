"""Kvaerno's method 5(4): seven stages, the first explicit, L-stable, stiffly accurate.

A. Kvaerno: "Singly diagonally implicit Runge-Kutta methods with an explicit first stage", BIT
Numer. Math. 44 (2004).
"""

from __future__ import annotations

from symadj.ode.methods.implicit_tableau import ImplicitTableau
from symadj.ode.methods.tableau import row

_G = 0.26
_LOWER = row(
    7,
    {
        0: 0.13855640231268224,
        2: -0.04245337201752043,
        3: 0.02446657898003141,
        4: 0.61943039072480676,
        5: _G,
    },
)
_B = row(
    7,
    {
        0: 0.13659751177640291,
        2: -0.05496908796538376,
        3: -0.04118626728321046,
        4: 0.62993304899016403,
        5: 0.06962479448202728,
        6: _G,
    },
)

KVAERNO5 = ImplicitTableau(
    name="kvaerno5",
    order=5,
    a=(
        row(7, {}),
        row(7, {0: _G, 1: _G}),
        row(7, {0: 0.13, 1: 0.84033320996790809, 2: _G}),
        row(7, {0: 0.22371961478320505, 1: 0.47675532319799699, 2: -0.06470895363112615, 3: _G}),
        row(
            7,
            {
                0: 0.16648564323248321,
                1: 0.10450018841591720,
                2: 0.03631482272098715,
                3: -0.13090704451073998,
                4: _G,
            },
        ),
        _LOWER,
        _B,
    ),
    b=_B,
    c=(0.0, 0.52, 1.230333209967908, 0.8957659843500759, 0.43639360985864756, 1.0, 1.0),
    # Less the sixth stage's state, of order 4.
    b_err=tuple(b - low for b, low in zip(_B, _LOWER, strict=True)),
    error_order=5,
)
