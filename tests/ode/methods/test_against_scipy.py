"""One step of a tableau, its error estimate and its dense output equal SciPy's to rounding."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import DOP853, RK23, RK45

from symadj.ode.methods import TABLEAUS
from symadj.ode.methods.tableau import ButcherTableau

# Dyadic, so that t1 - t0 and theta are exact on both sides.
T0, H = 0.25, 0.5
Y0 = np.array([1.0, -0.5, 0.8])
# SciPy's name for the estimates, with its sign: RK23 and RK45 take b_hat - b.
PEERS = {
    "bosh3": (RK23, {"b_err": ("E", -1.0)}),
    "dopri5": (RK45, {"b_err": ("E", -1.0)}),
    "dop853": (DOP853, {"b_err": ("E5", 1.0), "b_err_low": ("E3", 1.0)}),
}


def func(t: float, y: np.ndarray) -> np.ndarray:
    """Nonlinear, time-dependent, coupled."""
    u, v, w = y
    return np.array([math.sin(2 * t) * v - u**3, math.cos(u * w) - t * v, u * v - 0.3 * w**2])


def stages(tableau: ButcherTableau) -> np.ndarray:
    """k_i of every extended stage."""
    ks: list[np.ndarray] = []
    for row, c in zip(tableau.rows, tableau.nodes, strict=True):
        inner = sum((a * k for a, k in zip(row, ks, strict=False)), np.zeros_like(Y0))
        ks.append(func(T0 + c * H, Y0 + H * inner))
    return np.array(ks)


def one_step(peer: Any) -> Any:
    """SciPy's solver after one step of length H, which these tolerances always accept."""
    solver = peer(func, T0, Y0, T0 + H, rtol=1e6, atol=1e6, first_step=H)
    solver.step()
    assert solver.step_size == pytest.approx(H, rel=1e-15)
    return solver


def combined(weights: Any, ks: np.ndarray) -> np.ndarray:
    return H * np.asarray(weights) @ ks[: len(weights)]


@pytest.mark.parametrize("name", PEERS)
def test_step(name: str) -> None:
    tableau = TABLEAUS[name]
    expected = one_step(PEERS[name][0]).y
    assert Y0 + combined(tableau.b, stages(tableau)) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("name", PEERS)
def test_error_estimate(name: str) -> None:
    """Relative to the largest term of the sum, since the sum itself is what cancellation leaves."""
    tableau, (peer, estimates) = TABLEAUS[name], PEERS[name]
    ks, solver = stages(tableau), one_step(peer)
    for weights, (attribute, sign) in estimates.items():
        ours = combined(getattr(tableau, weights), ks)
        theirs = sign * combined(getattr(solver, attribute), solver.K)
        largest = H * np.abs(np.array(getattr(tableau, weights))[:, None] * ks[: tableau.stages])
        assert np.abs(ours - theirs).max() < 1e-14 * largest.max()
        assert np.abs(ours).max() > 1e6 * np.abs(ours - theirs).max()


@pytest.mark.parametrize("name", PEERS)
def test_dense_output(name: str) -> None:
    # The weights of DOP853 in powers of theta have coefficients near 500, which cancel.
    tolerance = 1e-13 if name == "dop853" else 1e-14
    tableau = TABLEAUS[name]
    ks, dense = stages(tableau), one_step(PEERS[name][0]).dense_output()
    for theta in np.linspace(0, 1, 17):
        ours = Y0 + combined(tableau.dense_weights(float(theta)), ks)
        theirs = dense(T0 + theta * H)
        assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()


def test_coefficients_of_dop853() -> None:
    """Every entry, since a slip in the last digits would pass for rounding everywhere else."""
    tableau = TABLEAUS["dop853"]
    assert tableau.b == tuple(DOP853.B)
    assert tableau.c == pytest.approx(tuple(DOP853.C), rel=1e-15)
    assert tableau.dense_c == pytest.approx(tuple(DOP853.C_EXTRA), rel=1e-15)
    assert tableau.b_err == tuple(DOP853.E5[:12])
    assert tableau.b_err_low == tuple(DOP853.E3[:12])
    for i, row in enumerate(tableau.a):
        assert row == tuple(DOP853.A[i, :i])
    for i, row in enumerate(tableau.dense_a):
        assert row == tuple(DOP853.A_EXTRA[i, : 13 + i])


def test_dense_weights_of_dop853_equal_the_nested_form() -> None:
    """SciPy's recipe applied to unit vectors gives it stage by stage: nothing hides in a sum."""
    unit = np.eye(16)
    delta = DOP853.B @ unit[:12]
    factors = [delta, unit[0] - delta, 2 * delta - unit[0] - unit[12], *(DOP853.D @ unit)]
    for theta in np.linspace(0, 1, 21):
        value = np.zeros(16)
        for i, factor in enumerate(reversed(factors)):
            value = (value + factor) * (theta if i % 2 == 0 else 1 - theta)
        ours = TABLEAUS["dop853"].dense_weights(float(theta))
        assert np.abs(np.array(ours) - value).max() < 1e-13
