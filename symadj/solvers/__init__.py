"""Stepping methods, by the names that `method=` takes."""

from __future__ import annotations

from symadj.ode.tableau import ButcherTableau
from symadj.solvers.bosh3 import BOSH3
from symadj.solvers.dop853 import DOP853
from symadj.solvers.dopri5 import DOPRI5
from symadj.solvers.dopri8 import DOPRI8
from symadj.solvers.euler import EULER
from symadj.solvers.fehlberg2 import FEHLBERG2
from symadj.solvers.heun import HEUN
from symadj.solvers.heun3 import HEUN3
from symadj.solvers.midpoint import MIDPOINT
from symadj.solvers.rk4 import RK4
from symadj.solvers.rk38 import RK38
from symadj.solvers.runge_kutta import Attempt, RungeKutta
from symadj.solvers.sides import Sides
from symadj.solvers.tsit5 import TSIT5

TABLEAUS: dict[str, ButcherTableau] = {
    tableau.name: tableau
    for tableau in (
        EULER,
        MIDPOINT,
        HEUN,
        FEHLBERG2,
        HEUN3,
        BOSH3,
        RK4,
        RK38,
        DOPRI5,
        TSIT5,
        DOPRI8,
        DOP853,
    )
}
SOLVERS: dict[str, RungeKutta] = {name: RungeKutta(t) for name, t in TABLEAUS.items()}

__all__ = ["SOLVERS", "TABLEAUS", "Attempt", "RungeKutta", "Sides"]
