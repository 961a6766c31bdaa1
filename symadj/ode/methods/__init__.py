"""Stepping methods, by the names that `method=` takes."""

from __future__ import annotations

from functools import lru_cache

from symadj.ode.methods.alf import ALF, ALF4, ALF6, AsynchronousLeapfrog
from symadj.ode.methods.base import Attempt, Evaluate, Observe, StepMethod, Unsolved
from symadj.ode.methods.bosh3 import BOSH3
from symadj.ode.methods.collocation import (
    GAUSS4,
    GAUSS6,
    IMPLICIT_EULER,
    IMPLICIT_MIDPOINT,
    RADAU3,
    RADAU5,
)
from symadj.ode.methods.coupled import COUPLING, Coupled
from symadj.ode.methods.dop853 import DOP853
from symadj.ode.methods.dopri5 import DOPRI5
from symadj.ode.methods.dopri8 import DOPRI8
from symadj.ode.methods.euler import EULER
from symadj.ode.methods.fehlberg2 import FEHLBERG2
from symadj.ode.methods.general_linear import GeneralLinear, reversible
from symadj.ode.methods.heun import HEUN
from symadj.ode.methods.heun3 import HEUN3
from symadj.ode.methods.implicit import Block, ImplicitRungeKutta
from symadj.ode.methods.implicit_tableau import ImplicitTableau
from symadj.ode.methods.kvaerno3 import KVAERNO3
from symadj.ode.methods.kvaerno5 import KVAERNO5
from symadj.ode.methods.midpoint import MIDPOINT
from symadj.ode.methods.reversible_heun import REVERSIBLE_HEUN
from symadj.ode.methods.rk4 import RK4
from symadj.ode.methods.rk38 import RK38
from symadj.ode.methods.runge_kutta import RungeKutta, explicit
from symadj.ode.methods.sdirk2 import SDIRK2
from symadj.ode.methods.sides import Sides
from symadj.ode.methods.tableau import ButcherTableau
from symadj.ode.methods.trapezoid import TRAPEZOID
from symadj.ode.methods.trbdf2 import TRBDF2
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
IMPLICIT: dict[str, ImplicitTableau] = {
    tableau.name: tableau
    for tableau in (
        IMPLICIT_EULER,
        IMPLICIT_MIDPOINT,
        TRAPEZOID,
        SDIRK2,
        TRBDF2,
        KVAERNO3,
        KVAERNO5,
        GAUSS4,
        GAUSS6,
        RADAU3,
        RADAU5,
    )
}
ALIASES = {"gl4": "gauss4", "gl6": "gauss6", "radauIIA3": "radau3", "radauIIA5": "radau5"}
"""torchdiffeq's names of some."""

SOLVERS: dict[str, StepMethod] = {
    **{name: RungeKutta(t) for name, t in TABLEAUS.items()},
    **{method.name: method for method in (ALF, ALF4, ALF6, REVERSIBLE_HEUN)},
    "reversible": Coupled(DOPRI5),
    **{name: ImplicitRungeKutta(t) for name, t in IMPLICIT.items()},
}


@lru_cache(maxsize=64)
def method_with(
    name: str,
    base: str | None = None,
    coupling: float | None = None,
    damping: float | None = None,
) -> StepMethod:
    """A stepping method with its options, None for the usual ones (see `SolverSettings`)."""
    if name == "reversible":
        return Coupled(TABLEAUS[base or "dopri5"], COUPLING if coupling is None else coupling)
    if name == "alf" and damping is not None:
        return AsynchronousLeapfrog("alf", 2, (1.0,), damping)
    return SOLVERS[name]


__all__ = [
    "ALIASES",
    "IMPLICIT",
    "SOLVERS",
    "TABLEAUS",
    "Attempt",
    "Block",
    "Evaluate",
    "GeneralLinear",
    "ImplicitRungeKutta",
    "ImplicitTableau",
    "Observe",
    "RungeKutta",
    "Sides",
    "StepMethod",
    "Unsolved",
    "explicit",
    "method_with",
    "reversible",
]
