"""Orbits of systems with few degrees of freedom, integrated by symadj itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symadj.calls.odeint import odeint
from symadj.data.physics.system import System
from symadj.errors import InputError
from symadj.memory import require_memory
from symadj.ranges import require

TOLERANCE = 1e-10


def orbits(
    system: System,
    starts: Tensor,
    span: float,
    snapshots: int,
    method: str = "dop853",
    tolerance: float = TOLERANCE,
) -> Tensor:
    """The true states at equally spaced times.

    Args:
        system: what is integrated.
        starts: float64 [n, dim].
        span: the last time; the first is 0.
        snapshots: their number, both ends included.
        method: of symadj; an implicit one for a stiff system.
        tolerance: rtol and atol.

    Returns:
        [n, snapshots, dim].
    """
    with torch.no_grad():
        ys = odeint(
            lambda t, u: system.derivative(u),
            starts,
            span / (snapshots - 1) * torch.arange(snapshots, dtype=torch.float64),
            rtol=tolerance,
            atol=tolerance,
            method=method,
            # The largest entry: all orbits share their steps, and none may pay for the others.
            options={"norm": lambda error: error.abs().amax()},
        )
    return ys.transpose(0, 1)


def check_samples(samples: int, snapshots: int, dim: int, splits: int = 2) -> None:
    """Refuses a number of trajectories that cannot be split, or that no memory holds.

    Args:
        samples: trajectories.
        snapshots: of each.
        dim: entries of a state.
        splits: that get one trajectory at least.

    Raises:
        InputError: too few or too many.
    """
    require("data", samples=samples)
    if samples < splits:
        raise InputError(f"samples={samples}; {splits} splits need at least {splits} trajectories.")
    # The states as the solve returns them, and once more as splits.
    needed = 16 * samples * snapshots * dim
    require_memory(needed, f"samples={samples}: the trajectories", "take fewer")


def legacy_random(seed: int) -> np.random.RandomState:
    """NumPy's generator of old, which takes seeds of 32 bits: beyond, one of two such words."""
    low, high = seed % 2**32, seed >> 32
    return np.random.RandomState([low, high] if high else low)
