"""Equations u_t = G dH/du on a periodic grid, and the implicit step that keeps their laws.

The step is the discrete-gradient (discrete variational derivative) method of Furihata (1999,
J. Comput. Phys. 156): in (u' - u) / dt = G dH(u, u') the powers of u in the variational derivative
are replaced by

    u -> (u + u')/2,    u^2 -> (u^2 + u u' + u'^2)/3,    u^3 -> (u^3 + u^2 u' + u u'^2 + u'^3)/4,

so that H(u') - H(u) = dx <dH(u, u'), u' - u> exactly: nothing changes for a skew G, and H falls
for a negative semidefinite one.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from symadj.data.physics.system import System
from symadj.errors import SymadjError
from symadj.lattice import STRUCTURES, second_difference

RESIDUAL = 1e-10
"""The largest entry of (u' - u)/dt - G dH(u, u') that an implicit step may leave."""

MOST_ITERATIONS = 40


class ImplicitStepError(SymadjError, ArithmeticError):
    """Newton's method did not solve an implicit step."""


class PeriodicPDE(System):
    """u_t = G (local(u) + stiffness * u_xx), semi-discretised by finite differences.

    A subclass sets the attributes and says what `local` and the energy are.

    Attributes:
        points: of the grid.
        width: length of the period.
        structure: of G, a name in `symadj.lattice.STRUCTURES`.
        stiffness: factor of the second difference in the variational derivative.
    """

    structure: ClassVar[str]
    points: int
    width: float
    stiffness: float

    @property
    def dx(self) -> float:
        """Distance of neighbouring grid points."""
        return self.width / self.points

    @property
    def x(self) -> Tensor:
        """The grid points, from 0, float64 [points]."""
        return self.width * torch.arange(self.points, dtype=torch.float64) / self.points

    def local(self, u: Tensor, v: Tensor) -> Tensor:
        """The pointwise part of the discrete variational derivative from u to v."""
        raise NotImplementedError

    def local_slope(self, u: Tensor, v: Tensor) -> Tensor:
        """d local / dv."""
        raise NotImplementedError

    def density(self, u: Tensor) -> Tensor:
        """The energy density at every grid point."""
        raise NotImplementedError

    def operator(self, w: Tensor) -> Tensor:
        """G w."""
        return STRUCTURES[self.structure](w, self.dx)

    def slope(self, u: Tensor, v: Tensor) -> Tensor:
        """G dH(u, v), the right-hand side of the implicit step from u to v."""
        middle = (u + v) / 2
        curvature = second_difference(middle, self.dx)
        return self.operator(self.local(u, v) + self.stiffness * curvature)

    def derivative(self, u: Tensor) -> Tensor:
        """u_t of every state."""
        return self.slope(u, u)

    def energy(self, u: Tensor) -> Tensor:
        """dx times the sum of the energy density over the grid."""
        return self.dx * self.density(u).sum(-1)

    def mass(self, u: Tensor) -> Tensor:
        """dx times the sum of u over the grid."""
        return self.dx * u.sum(-1)

    def invariants(self, u: Tensor) -> dict[str, Tensor]:
        """Energy and mass."""
        return {"energy": self.energy(u), "mass": self.mass(u)}


def discrete_gradient_trajectories(
    system: PeriodicPDE, starts: Tensor, dt: float, steps: int
) -> Tensor:
    """Integrates all initial states at once.

    Args:
        system: the equation.
        starts: float64 [n, points].
        dt: length of a step.
        steps: their number.

    Returns:
        [n, steps + 1, points], the initial states included.

    Raises:
        ImplicitStepError: Newton's method failed.
    """
    newton = Newton(system, dt)
    out = starts.new_empty((len(starts), steps + 1, system.points))
    u = out[:, 0] = starts
    for step in range(1, steps + 1):
        u = out[:, step] = newton.step(u)
    return out


class Newton:
    """The implicit step of length dt for a batch of states, by Newton's method.

    The factors of the Jacobian are kept over iterations and steps, for as long as every iteration
    takes the residual down to a tenth.

    Args:
        system: the equation.
        dt: length of a step.
    """

    def __init__(self, system: PeriodicPDE, dt: float) -> None:
        self.system = system
        self.dt = dt
        identity = torch.eye(system.points, dtype=torch.float64)
        # The operators act along rows; a product of matrices needs their columns.
        self._operator = system.operator(identity).T
        curvature = second_difference(identity, system.dx).T
        self._linear = identity / dt - self._operator @ curvature * (system.stiffness / 2)
        self._factors: tuple[Tensor, Tensor] | None = None

    def residual(self, u: Tensor, v: Tensor) -> Tensor:
        """(v - u)/dt - G dH(u, v), [n, points]."""
        return (v - u) / self.dt - self.system.slope(u, v)

    def step(self, u: Tensor) -> Tensor:
        """The states one step after u [n, points], from an explicit Euler step as first guess.

        Raises:
            ImplicitStepError: the residual stays above `RESIDUAL`.
        """
        v = u + self.dt * self.system.derivative(u)
        residual = self.residual(u, v)
        largest = float(residual.abs().amax())
        for _ in range(MOST_ITERATIONS):
            before = largest
            v = v - self._solve(u, v, residual)
            residual = self.residual(u, v)
            largest = float(residual.abs().amax())
            # Down to rounding, not only to RESIDUAL: with it goes what the conserved quantities
            # drift over many steps.
            if before <= RESIDUAL and largest > before / 2:
                break
            if before > RESIDUAL and not largest <= before / 10:
                self._factors = None
        if not largest <= RESIDUAL:
            raise ImplicitStepError(
                f"the implicit step of length {self.dt:g} was not solved: its residual is "
                f"{largest:.3g} after {MOST_ITERATIONS} Newton iterations, allowed is "
                f"{RESIDUAL:g}. Take shorter steps."
            )
        return v

    def _solve(self, u: Tensor, v: Tensor, residual: Tensor) -> Tensor:
        """J^-1 residual, with J = d residual / dv at (u, v) or at an earlier state."""
        if self._factors is None:
            local = self.system.local_slope(u, v)
            lu, pivots = torch.linalg.lu_factor(self._linear - self._operator * local.unsqueeze(-2))
            self._factors = (lu, pivots)
        return torch.linalg.lu_solve(*self._factors, residual.unsqueeze(-1)).squeeze(-1)
