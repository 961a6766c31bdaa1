"""symadj: exact gradients of neural ODEs with minimal memory, by the symplectic adjoint method."""

from __future__ import annotations

from symadj.calls.integrator import Integrator
from symadj.calls.odeint import odeint, odeint_adjoint, solve
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
    NonFiniteError,
    SolveError,
    StepSizeUnderflow,
    SymadjError,
)
from symadj.grad import GRADIENTS, GradientMethod
from symadj.ode.methods import SOLVERS
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats

__version__ = "0.1.0"

__all__ = [
    "GRADIENTS",
    "SOLVERS",
    "CapturedTensorError",
    "DoubleBackwardError",
    "FieldChangedError",
    "GradientMethod",
    "IncompatibleError",
    "InputError",
    "Integrator",
    "MaxStepsExceeded",
    "MemoryBudgetExceeded",
    "NewtonError",
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
    "solve",
]
