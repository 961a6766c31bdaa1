"""torchdiffeq's names of methods, with symadj's."""

from __future__ import annotations

from dataclasses import dataclass

from symadj.errors import InputError, suggest


@dataclass(frozen=True)
class Method:
    """One of torchdiffeq's methods.

    Attributes:
        name: there.
        solver: in `symadj.SOLVERS`.
        adaptive: whether its steps follow the error; each method has steps of one kind only.
        error: its error estimate in units of the solver's.
    """

    name: str
    solver: str
    adaptive: bool
    error: float = 1.0


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("dopri8", "dopri8", True),
        # Shampine's estimate (Math. Comp. 46, 1986): 2/3 of Dormand and Prince's.
        Method("dopri5", "dopri5", True, error=2 / 3),
        Method("tsit5", "tsit5", True),
        Method("bosh3", "bosh3", True),
        Method("fehlberg2", "fehlberg2", True),
        Method("adaptive_heun", "heun", True),
        Method("euler", "euler", False),
        Method("midpoint", "midpoint", False),
        Method("heun2", "heun", False),
        Method("heun3", "heun3", False),
        Method("rk4", "rk38", False),
        Method("implicit_euler", "implicit_euler", False),
        Method("implicit_midpoint", "implicit_midpoint", False),
        Method("trapezoid", "trapezoid", False),
        Method("gl4", "gauss4", False),
        Method("gl6", "gauss6", False),
        Method("radauIIA3", "radau3", False),
        Method("radauIIA5", "radau5", False),
        Method("sdirk2", "sdirk2", False),
        Method("trbdf2", "trbdf2", False),
    )
}

_MULTISTEP = (
    "is a multistep method, whose steps hang on earlier ones; symadj has one-step methods only. "
    "Take 'rk4' with the same step_size, or 'dopri5', which chooses its steps"
)
_SCIPY = (
    "hands the solve to SciPy, through which no gradient passes. Take 'dopri5' (SciPy's RK45), "
    "'dopri8' or 'bosh3' (RK23), or call scipy.integrate.solve_ivp itself"
)
_REFUSED = {
    **dict.fromkeys(("explicit_adams", "implicit_adams", "fixed_adams"), _MULTISTEP),
    "scipy_solver": _SCIPY,
}


def method_of(name: object) -> Method:
    """The method of this name; None: dopri5.

    Raises:
        InputError: there is none; the message says what to take.
    """
    if name is None:
        name = "dopri5"
    if isinstance(name, str) and name in METHODS:
        return METHODS[name]
    if isinstance(name, str) and name in _REFUSED:
        raise InputError(f"method={name!r} {_REFUSED[name]}.")
    raise InputError(f"unknown method {name!r}.{suggest(name, METHODS)}")
