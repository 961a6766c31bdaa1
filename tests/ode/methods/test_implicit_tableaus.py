"""The implicit tableaus satisfy the order conditions that they claim, and are as stable."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from symadj import InputError
from symadj.ode.methods import IMPLICIT, Block
from tests.ode.methods.trees import residual, stage_matrix, trees

ALL = pytest.mark.parametrize("name", IMPLICIT)
ROUNDING = 1e-13
DENSE = {
    "implicit_euler": 1,
    "implicit_midpoint": 1,
    "trapezoid": 2,
    "sdirk2": 2,
    "trbdf2": 2,
    "kvaerno3": 3,
    "kvaerno5": 3,
    "gauss4": 2,
    "gauss6": 3,
    "radau3": 2,
    "radau5": 3,
}
L_STABLE = ("implicit_euler", "sdirk2", "trbdf2", "kvaerno3", "kvaerno5", "radau3", "radau5")


def worst(name: str, weights: np.ndarray, nodes: int, theta: float | None = None) -> float:
    """The largest residual over the trees with so many nodes; without theta for a sum of zero."""
    matrix = stage_matrix(IMPLICIT[name])
    return max(
        residual(weights, tree, matrix, 0.0 if theta is None else theta**nodes / tree.gamma)
        for tree in trees(nodes)
    )


def padded(name: str, weights: tuple[float, ...]) -> np.ndarray:
    return np.pad(weights, (0, len(IMPLICIT[name].rows) - len(weights)))


@ALL
def test_the_solution_is_of_its_order_and_of_none_higher(name: str) -> None:
    tableau = IMPLICIT[name]
    b = padded(name, tableau.b)
    assert max(worst(name, b, n, 1.0) for n in range(1, tableau.order + 1)) < ROUNDING
    assert worst(name, b, tableau.order + 1, 1.0) > 1e-4


@pytest.mark.parametrize("name", [name for name, t in IMPLICIT.items() if t.b_err])
def test_the_error_estimate_is_of_its_order(name: str) -> None:
    tableau = IMPLICIT[name]
    assert tableau.b_err is not None
    assert tableau.error_order is not None
    e = padded(name, tableau.b_err)
    assert max(worst(name, e, n) for n in range(1, tableau.error_order)) < ROUNDING
    assert worst(name, e, tableau.error_order) > 1e-4


@ALL
def test_the_continuous_extension_is_of_its_order(name: str) -> None:
    for theta in (0.2, 0.5, 0.9):
        weights = np.array(IMPLICIT[name].dense_weights(theta))
        assert max(worst(name, weights, n, theta) for n in range(1, DENSE[name] + 1)) < ROUNDING
    assert worst(name, np.array(IMPLICIT[name].dense_weights(0.3)), DENSE[name] + 1, 0.3) > 1e-4


@ALL
def test_stability(name: str) -> None:
    """|R(z)| <= 1 on the imaginary axis, R(-infinity) = 0 of the L-stable ones."""
    tableau = IMPLICIT[name]
    a, b = np.array(tableau.a), np.array(tableau.b)
    ones = np.ones(len(b))

    def growth(z: complex) -> complex:
        return complex(1 + z * (b @ np.linalg.solve(np.eye(len(b)) - z * a, ones)))

    assert max(abs(growth(1j * y)) for y in np.logspace(-2, 4, 200)) < 1 + 1e-10
    assert (abs(growth(-1e9)) < 1e-6) == (name in L_STABLE)


def test_radau5_is_that_of_hairer_and_wanner() -> None:
    """Solving ODEs II, table IV.5.6, and the weights of their estimate, (IV.8.17)."""
    tableau, r = IMPLICIT["radau5"], 6**0.5
    expected = [
        [(88 - 7 * r) / 360, (296 - 169 * r) / 1800, (-2 + 3 * r) / 225],
        [(296 + 169 * r) / 1800, (88 + 7 * r) / 360, (-2 - 3 * r) / 225],
        [(16 - r) / 36, (16 + r) / 36, 1 / 9],
    ]
    a = np.array(tableau.a)[1:, 1:]
    assert np.abs(a - expected).max() < 1e-14
    g = tableau.filter
    assert g is not None
    assert min(abs(np.linalg.eigvals(a) - g)) < 1e-14
    of_z = g / 3 * np.array([-13 - 7 * r, -13 + 7 * r, -1])
    assert np.array(tableau.b_err) == pytest.approx([-g, *(-of_z @ a)], abs=1e-14)


@ALL
def test_blocks_invert_their_matrix(name: str) -> None:
    """I - h A x J of a random J, by its modes."""
    tableau = IMPLICIT[name]
    blocks = [Block(stages, tableau.matrix(stages)) for stages in tableau.blocks]
    assert [i for block in blocks for i in block.stages] == list(range(len(tableau.rows)))
    assert blocks[0].explicit
    rng = np.random.default_rng(0)
    jacobian = rng.normal(size=(4, 4))
    for block in blocks:
        if block.explicit:
            continue
        a = np.array(block.matrix)
        whole = np.eye(4 * len(a)) - 0.3 * np.kron(a, jacobian)
        found = sum(
            np.kron(
                np.outer(mode.right, mode.left),
                np.linalg.inv(np.eye(4) - 0.3 * mode.value * jacobian),
            ).real
            for mode in block.modes
        )
        assert np.abs(found @ whole - np.eye(len(whole))).max() < 1e-13


def test_coefficients_that_are_no_implicit_method_are_refused() -> None:
    good = IMPLICIT["trapezoid"]
    with pytest.raises(InputError, match="row 1 of a has 1 entries, not one a stage"):
        dataclasses.replace(good, a=((0.0, 0.0), (1.0,)))
    with pytest.raises(InputError, match=r"row 0 of a is not zero, as that of f\(t0, y0\) is"):
        dataclasses.replace(good, a=((1.0, 0.0), (0.5, 0.5)), c=(1.0, 1.0))
