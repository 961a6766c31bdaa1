"""symadj: exact gradients of neural ODEs with minimal memory, by the symplectic adjoint method."""

from __future__ import annotations

from symadj.calls.events import EventTimes
from symadj.calls.integrator import Integrator
from symadj.calls.odeint import odeint, odeint_adjoint, odeint_event, solve
from symadj.calls.solving import Solution, Steps
from symadj.errors import (
    CapturedTensorError,
    DoubleBackwardError,
    FieldChangedError,
    IncompatibleError,
    InputError,
    MaxStepsExceeded,
    MemoryBudgetExceeded,
    NewtonError,
    NoEventError,
    NonFiniteError,
    SolveError,
    StepSizeUnderflow,
    SymadjError,
)
from symadj.grad import GRADIENTS, GradientMethod
from symadj.ode.events import Event
from symadj.ode.methods import SOLVERS
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats

__version__ = "0.1.0"

__all__ = [
    "GRADIENTS",
    "SOLVERS",
    "CapturedTensorError",
    "DoubleBackwardError",
    "Event",
    "EventTimes",
    "FieldChangedError",
    "GradientMethod",
    "IncompatibleError",
    "InputError",
    "Integrator",
    "MaxStepsExceeded",
    "MemoryBudgetExceeded",
    "NewtonError",
    "NoEventError",
    "NonFiniteError",
    "Solution",
    "SolveError",
    "SolveStats",
    "SolverSettings",
    "StepSizeUnderflow",
    "Steps",
    "SymadjError",
    "odeint",
    "odeint_adjoint",
    "odeint_event",
    "solve",
]
