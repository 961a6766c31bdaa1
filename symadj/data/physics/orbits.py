"""Orbits of systems with few degrees of freedom, integrated by symadj itself."""

from __future__ import annotations

import torch
from torch import Tensor

from symadj.data.physics.system import System
from symadj.errors import InputError
from symadj.ode.odeint import odeint

TOLERANCE = 1e-10


def orbits(system: System, starts: Tensor, span: float, snapshots: int) -> Tensor:
    """The true states at equally spaced times, by dop853 with a tolerance of 1e-10.

    Args:
        system: what is integrated.
        starts: float64 [n, dim].
        span: the last time; the first is 0.
        snapshots: their number, both ends included.

    Returns:
        [n, snapshots, dim].
    """
    with torch.no_grad():
        ys = odeint(
            lambda t, u: system.derivative(u),
            starts,
            span / (snapshots - 1) * torch.arange(snapshots, dtype=torch.float64),
            rtol=TOLERANCE,
            atol=TOLERANCE,
            method="dop853",
            # The largest entry: all orbits share their steps, and none may pay for the others.
            options={"norm": lambda error: error.abs().amax()},
        )
    return ys.transpose(0, 1)


def at_least(least: int, **given: int) -> None:
    """Raises `InputError` for a given number below the least."""
    for name, value in given.items():
        if value < least:
            raise InputError(f"{name}={value}; it must be at least {least}.")


def not_negative(**given: float) -> None:
    """Raises `InputError` for a given number that is negative or not finite."""
    for name, value in given.items():
        if not 0 <= value < float("inf"):
            raise InputError(f"{name}={value}; it must be at least 0.")
