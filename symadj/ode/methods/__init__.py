"""Stepping methods, by the names that `method=` takes."""

from __future__ import annotations

from symadj.ode.methods.bosh3 import BOSH3
from symadj.ode.methods.dop853 import DOP853
from symadj.ode.methods.dopri5 import DOPRI5
from symadj.ode.methods.dopri8 import DOPRI8
from symadj.ode.methods.euler import EULER
from symadj.ode.methods.fehlberg2 import FEHLBERG2
from symadj.ode.methods.heun import HEUN
from symadj.ode.methods.heun3 import HEUN3
from symadj.ode.methods.midpoint import MIDPOINT
from symadj.ode.methods.rk4 import RK4
from symadj.ode.methods.rk38 import RK38
from symadj.ode.methods.runge_kutta import Attempt, Evaluate, Observe, RungeKutta
from symadj.ode.methods.sides import Sides
from symadj.ode.methods.tableau import ButcherTableau
from symadj.ode.methods.tsit5 import TSIT5

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

__all__ = ["SOLVERS", "TABLEAUS", "Attempt", "Evaluate", "Observe", "RungeKutta", "Sides"]
