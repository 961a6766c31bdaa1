"""The tableaus satisfy the order conditions that they claim, and no more."""

from __future__ import annotations

import numpy as np
import pytest

from symadj.ode.methods import TABLEAUS
from tests.ode.methods.trees import (
    elementary_weights,
    residual,
    stage_matrix,
    trees,
    trees_up_to,
)

ERROR_ESTIMATES = [name for name, tableau in TABLEAUS.items() if tableau.b_err]
DENSE_ORDERS = {
    "euler": 1,
    "midpoint": 2,
    "heun": 2,
    "fehlberg2": 2,
    "heun3": 3,
    "bosh3": 3,
    "rk4": 3,
    "rk38": 3,
    "dopri5": 4,
    "tsit5": 4,
    "dopri8": 5,
    "dop853": 7,
}
# More values of theta than any weight has coefficients: equal at all of them, equal as polynomials.
THETAS = np.linspace(0, 1, 9)
ROUNDING = 1e-13
# The smallest residual of a condition that fails is 3.0e-6 (dopri8's extension at order 6).
FAILS = 1e-6


def worst(name: str, weights: np.ndarray, nodes: int, theta: float | None = None) -> float:
    """The largest residual over the trees with so many nodes; without theta for a sum of zero."""
    tableau = TABLEAUS[name]
    matrix = stage_matrix(tableau)
    return max(
        residual(weights, tree, matrix, 0.0 if theta is None else theta**nodes / tree.gamma)
        for tree in trees(nodes)
    )


def test_the_trees_are_all_there() -> None:
    assert [len(trees(n)) for n in range(1, 10)] == [1, 1, 2, 4, 9, 20, 48, 115, 286]
    assert len(set(trees_up_to(9))) == 486
    assert {tree.gamma for tree in trees(4)} == {4, 8, 12, 24}
    # The tall tree of the classical method, computed by hand: g = A A A 1.
    tall = next(tree for tree in trees(4) if tree.gamma == 24)
    g = elementary_weights(tall, stage_matrix(TABLEAUS["rk4"]))
    assert g[:4] == pytest.approx([0, 0, 0, 1 / 4])


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_solution_is_of_its_order(name: str) -> None:
    tableau = TABLEAUS[name]
    b = np.array(tableau.b)
    for nodes in range(1, tableau.order + 1):
        assert worst(name, b, nodes, theta=1.0) < ROUNDING
    assert worst(name, b, tableau.order + 1, theta=1.0) > FAILS


@pytest.mark.parametrize("name", TABLEAUS)
def test_quadrature(name: str) -> None:
    tableau = TABLEAUS[name]
    b, c = np.array(tableau.b), np.array(tableau.c)
    for k in range(tableau.order):
        assert b @ c**k == pytest.approx(1 / (k + 1), rel=1e-14)


@pytest.mark.parametrize("name", ERROR_ESTIMATES)
def test_the_error_estimate_is_of_its_order(name: str) -> None:
    """h sum e_i k_i is O(h^q): it vanishes on the trees with fewer than q nodes."""
    tableau = TABLEAUS[name]
    orders = {"b_err": tableau.error_order}
    if name == "dop853":
        # The controller divides O(h^6)^2 by O(h^4).
        orders = {"b_err": 6, "b_err_low": 4}
        assert tableau.error_order == 2 * 6 - 4
    for weights, order in orders.items():
        e = np.array(getattr(tableau, weights))
        assert order is not None
        assert all(worst(name, e, nodes) < ROUNDING for nodes in range(1, order))
        assert worst(name, e, order) > FAILS


def test_embedded_solutions() -> None:
    """b - b_err is the published b_hat, which the order alone does not tell from b + b_err."""
    published = {
        "heun": (1, 0),
        "fehlberg2": (1 / 256, 255 / 256, 0),
        "bosh3": (7 / 24, 1 / 4, 1 / 3, 1 / 8),
        "dopri5": (5179 / 57600, 0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
        "tsit5": (
            0.0946807557658394580747,
            0.0091835655403432530967,
            0.4877705284247615707855,
            1.2342975669304789856551,
            -2.707712349983525454881,
            1.8666284181705870357537,
            1 / 66,
        ),
        "dopri8": (
            *(13451932 / 455176623, 0, 0, 0, 0, -808719846 / 976000145),
            *(1757004468 / 5645159321, 656045339 / 265891186, -3867574721 / 1518517206),
            *(465885868 / 322736535, 53011238 / 667516719, 2 / 45, 0),
        ),
    }
    assert {*published, "dop853"} == set(ERROR_ESTIMATES)
    for name, b_hat in published.items():
        tableau = TABLEAUS[name]
        embedded = np.array(tableau.b) - np.array(tableau.b_err)
        assert embedded == pytest.approx(b_hat, rel=1e-14, abs=1e-16), name


@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_is_of_its_order(name: str) -> None:
    """The conditions sum b_i(theta) g_i = theta^nodes / gamma hold as identities in theta."""
    # Hermite's cubic keeps a method's order up to 3.
    order = DENSE_ORDERS.get(name, min(TABLEAUS[name].order, 3))
    weights = [np.array(TABLEAUS[name].dense_weights(float(theta))) for theta in THETAS]
    for nodes in range(1, order + 1):
        for theta, w in zip(THETAS, weights, strict=True):
            assert worst(name, w, nodes, theta) < ROUNDING
    missed = [worst(name, w, order + 1, theta) for theta, w in zip(THETAS, weights, strict=True)]
    assert max(missed) > FAILS


@pytest.mark.parametrize("name", TABLEAUS)
def test_dense_output_joins_smoothly(name: str) -> None:
    """It begins at y0 with slope k_0 and ends at y1 with the slope of the end stage."""
    tableau = TABLEAUS[name]
    stages = len(tableau.rows)
    first, end = np.eye(stages)[0], np.eye(stages)[tableau.end_index]
    b = np.zeros(stages)
    b[: tableau.stages] = tableau.b
    assert tableau.dense_weights(0.0) == (0.0,) * stages
    assert tableau.dense_weights(1.0) == pytest.approx(b, rel=1e-13, abs=1e-13)
    values = np.array([tableau.dense_weights(float(theta)) for theta in THETAS])
    for i in range(stages):
        slope = np.polynomial.Polynomial.fit(THETAS, values[:, i], 8).deriv()
        assert slope(0.0) == pytest.approx(first[i], abs=1e-10)
        assert slope(1.0) == pytest.approx(end[i], abs=1e-10)


def test_tsit5_dense_output_is_the_published_one() -> None:
    """The weights as factored in the paper."""
    for theta in THETAS:
        square = theta**2
        published = (
            -1.0530884977290216
            * theta
            * (theta - 1.3299890189751412)
            * (square - 1.4364028541716351 * theta + 0.7139816917074209),
            0.1017 * square * (square - 2.1966568338249754 * theta + 1.2949852507374631),
            2.490627285651252793
            * square
            * (square - 2.38535645472061657 * theta + 1.57803468208092486),
            -16.54810288924490272
            * (theta - 1.21712927295533244)
            * (theta - 0.61620406037800089)
            * square,
            47.37952196281928122
            * (theta - 1.203071208372362603)
            * (theta - 0.658047292653547382)
            * square,
            -34.87065786149660974 * (theta - 1.2) * (theta - 2 / 3) * square,
            2.5 * (theta - 1) * (theta - 0.6) * square,
        )
        ours = TABLEAUS["tsit5"].dense_weights(float(theta))
        assert ours == pytest.approx(published, rel=1e-14, abs=1e-14)


@pytest.mark.parametrize(
    ("name", "stages", "fsal", "end", "extended"),
    [
        ("euler", 1, False, 1, 2),
        ("midpoint", 2, False, 2, 3),
        ("heun", 2, False, 2, 3),
        ("fehlberg2", 3, False, 3, 4),
        ("bosh3", 4, True, 3, 4),
        ("rk4", 4, False, 4, 5),
        ("rk38", 4, False, 4, 5),
        ("dopri5", 7, True, 6, 7),
        ("tsit5", 7, True, 6, 7),
        ("heun3", 3, False, 3, 4),
        ("dopri8", 13, False, 13, 14),
        ("dop853", 12, False, 12, 16),
    ],
)
def test_stage_counts(name: str, stages: int, fsal: bool, end: int, extended: int) -> None:
    tableau = TABLEAUS[name]
    assert (tableau.stages, tableau.fsal, tableau.end_index) == (stages, fsal, end)
    assert tableau.core_stages == end
    assert len(tableau.rows) == len(tableau.nodes) == extended
    assert tableau.nodes[end] == 1
    assert tuple(tableau.rows[end])[:stages] == tableau.b[:end]


@pytest.mark.parametrize("name", TABLEAUS)
def test_the_solution_needs_every_stage_before_the_end_one(name: str) -> None:
    """A stage of weight zero still counts through the stages that it enters."""
    tableau = TABLEAUS[name]
    assert tableau.closure(tableau.b) == tuple(range(tableau.core_stages))
    assert tableau.dead_stages == ((tableau.end_index,) if tableau.fsal else ())


def test_stages_of_weight_zero() -> None:
    zeros = {
        name: tuple(i for i in range(t.core_stages) if t.b[i] == 0) for name, t in TABLEAUS.items()
    }
    zeros = {name: stages for name, stages in zeros.items() if stages}
    eighth = (1, 2, 3, 4)
    assert zeros == {
        "midpoint": (0,),
        "heun3": (1,),
        "dopri5": (1,),
        "dopri8": eighth,
        "dop853": eighth,
    }


@pytest.mark.parametrize(
    ("name", "needs_end"),
    [("heun", False), ("fehlberg2", False), ("dop853", False), ("bosh3", True), ("dopri5", True)],
)
def test_which_error_estimates_need_the_end_stage(name: str, needs_end: bool) -> None:
    tableau = TABLEAUS[name]
    assert tableau.b_err is not None
    assert (tableau.end_index in tableau.closure(tableau.b_err)) is needs_end


def test_dense_output_of_dop853_needs_three_stages_more() -> None:
    tableau = TABLEAUS["dop853"]
    assert tableau.closure(tableau.dense_weights(0.4)) == tuple(range(16))
