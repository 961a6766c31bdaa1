"""The discrete-gradient step: what it keeps, and independent solutions beside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.optimize import fsolve
from torch import Tensor

from symadj.data.physics.cahn_hilliard import CahnHilliardEquation
from symadj.data.physics.kdv import KdVEquation
from symadj.data.physics.pde import (
    RESIDUAL,
    ImplicitStepError,
    Newton,
    PeriodicPDE,
    discrete_gradient_trajectories,
)

KDV, CAHN_HILLIARD = KdVEquation(), CahnHilliardEquation()
DT = {KDV: 1e-3, CAHN_HILLIARD: 1e-4}
BOTH = pytest.mark.parametrize("system", [KDV, CAHN_HILLIARD], ids=["kdv", "cahn_hilliard"])


def starts(system: PeriodicPDE, n: int) -> Tensor:
    """Published initial states; Cahn-Hilliard's enlarged, so that its cubic term matters."""
    if isinstance(system, KdVEquation):
        return system.two_solitons(n, 1)
    assert isinstance(system, CahnHilliardEquation)
    return 10 * system.noise(n, 0)


def by_hand(system: PeriodicPDE, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The right-hand side of the implicit step, written out once more in numpy."""

    def d2(w: np.ndarray) -> np.ndarray:
        return (np.roll(w, -1) - 2 * w + np.roll(w, 1)) / system.dx**2

    if isinstance(system, KdVEquation):
        w = 3 * (u * u + u * v + v * v) / 3 + d2((u + v) / 2)
        return (np.roll(w, -1) - np.roll(w, 1)) / (2 * system.dx)
    cube = (u**3 + u * u * v + u * v * v + v**3) / 4
    return d2(-(u + v) / 2 + cube - 0.0005 * d2((u + v) / 2))


@BOTH
def test_the_variational_derivative_is_the_gradient_of_the_energy(system: PeriodicPDE) -> None:
    u = starts(system, 3).requires_grad_()
    (gradient,) = torch.autograd.grad(system.energy(u).sum(), u)
    expected = system.operator(gradient / system.dx)
    scale = expected.abs().max()
    assert (system.derivative(u) - expected).abs().max() < 1e-12 * scale


@BOTH
def test_the_step_solves_the_published_equation(system: PeriodicPDE) -> None:
    dt = DT[system]
    u = discrete_gradient_trajectories(system, starts(system, 2), dt, 5).numpy()
    for before, after in zip(u[:, :-1].reshape(-1, 50), u[:, 1:].reshape(-1, 50), strict=True):
        residual = (after - before) / dt - by_hand(system, before, after)
        assert np.abs(residual).max() < RESIDUAL


@BOTH
def test_the_first_trajectory_is_that_of_fsolve(system: PeriodicPDE) -> None:
    """The first trajectory as published, twenty steps of it."""
    dt = DT[system]
    first = KDV.two_solitons(2, 1) if system is KDV else CAHN_HILLIARD.noise(2, 0)
    u = discrete_gradient_trajectories(system, first, dt, 20)[0].numpy()
    theirs = u[0]
    for ours in u[1:]:
        before = theirs
        guess = before + dt * by_hand(system, before, before)
        found = fsolve(lambda v, u=before: (v - u) / dt - by_hand(system, u, v), guess, xtol=1e-10)
        theirs = np.asarray(found)
        assert np.abs(ours - theirs).max() < 1e-10


@BOTH
def test_it_converges_to_the_equation_with_order_two(system: PeriodicPDE) -> None:
    """Against a tight dop853 solve of the semi-discrete equation by SciPy."""
    dt, start = DT[system] / 2, starts(system, 1)
    end = 8 * dt
    true = solve_ivp(
        lambda t, u: by_hand(system, u, u),
        (0, end),
        start[0].numpy(),
        method="DOP853",
        rtol=1e-12,
        atol=1e-12,
    ).y[:, -1]
    errors = [
        np.abs(discrete_gradient_trajectories(system, start, end / n, n)[0, -1].numpy() - true)
        for n in (8, 16, 32)
    ]
    ratios = [errors[i].max() / errors[i + 1].max() for i in (0, 1)]
    assert ratios[1] == pytest.approx(4, rel=0.1)
    assert ratios[0] == pytest.approx(4, rel=0.3)


@BOTH
def test_the_first_trajectory_is_near_a_tight_solution(system: PeriodicPDE) -> None:
    """100 steps of it against dop853 by SciPy; half the step comes four times as near."""
    dt = DT[system]
    first = KDV.two_solitons(1, 1) if system is KDV else CAHN_HILLIARD.noise(1, 0)
    span = (0, 100 * dt)
    found = solve_ivp(
        lambda t, u: by_hand(system, u, u), span, first[0].numpy(), "DOP853", rtol=1e-9, atol=1e-10
    )
    true = found.y[:, -1]
    apart = []
    for n in (1, 2):
        ours = discrete_gradient_trajectories(system, first, dt / n, 100 * n)[0, -1].numpy()
        apart.append(np.abs(ours - true).max())
    assert apart[0] < 0.01 * np.abs(true).max()
    assert float(apart[0] / apart[1]) == pytest.approx(4, rel=0.2)


@BOTH
def test_the_mass_is_kept_to_rounding(system: PeriodicPDE) -> None:
    u = discrete_gradient_trajectories(system, starts(system, 4), DT[system], 100)
    mass = system.mass(u)
    assert (mass - mass[:, :1]).abs().max() < 1e-14 * u.abs().sum(-1).max()


def test_the_energy_of_kdv_is_kept() -> None:
    u = discrete_gradient_trajectories(KDV, starts(KDV, 6), DT[KDV], 100)
    energy = KDV.energy(u)
    drift = (energy - energy[:, :1]).abs()
    assert (drift < 1e-13 * energy[:, :1].abs().clamp_min(1)).all()
    assert (u[:, -1] - u[:, 0]).abs().max() > 1, "the solitons have moved"


def test_the_energy_of_cahn_hilliard_never_rises() -> None:
    u = discrete_gradient_trajectories(CAHN_HILLIARD, starts(CAHN_HILLIARD, 4), 1e-4, 100)
    energy = CAHN_HILLIARD.energy(u)
    assert (energy[:, 1:] <= energy[:, :-1]).all()
    assert (energy[:, -1] < energy[:, 0] - 1e-3).all()


def test_a_trajectory_does_not_depend_on_the_others() -> None:
    together = discrete_gradient_trajectories(KDV, starts(KDV, 5), 1e-3, 20)
    alone = discrete_gradient_trajectories(KDV, starts(KDV, 5)[3:4], 1e-3, 20)
    assert (together[3] - alone[0]).abs().max() < 1e-11


def test_a_step_that_is_not_solved_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImplicitStepError, match=r"not solved.*nan.*shorter steps"):
        Newton(KDV, 1e-3).step(starts(KDV, 1) * float("inf"))
    monkeypatch.setattr("symadj.data.physics.pde.MOST_ITERATIONS", 1)
    with pytest.raises(ImplicitStepError, match=r"after 1 Newton iterations"):
        Newton(KDV, 1e-3).step(starts(KDV, 1))


@pytest.mark.slow
@BOTH
def test_all_published_trajectories_keep_the_laws(system: PeriodicPDE) -> None:
    start = KDV.two_solitons(100, 1) if system is KDV else CAHN_HILLIARD.noise(100, 0)
    u = discrete_gradient_trajectories(system, start, DT[system], 500)
    newton = Newton(system, DT[system])
    for n in range(500):
        assert newton.residual(u[:, n], u[:, n + 1]).abs().max() < RESIDUAL
    mass, energy = system.mass(u), system.energy(u)
    assert (mass - mass[:, :1]).abs().max() < 1e-13
    if system is KDV:
        assert ((energy - energy[:, :1]) / energy[:, :1]).abs().max() < 1e-13
    else:
        assert (energy[:, 1:] <= energy[:, :-1]).all()
