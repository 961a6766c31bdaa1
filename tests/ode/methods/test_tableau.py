"""A tableau refuses coefficients that are no method, and derives the rest from those that are."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline

from symadj.errors import InputError
from symadj.ode.methods.tableau import ButcherTableau, Row

# The explicit midpoint rule and Euler's, with one stage for dense output only.
MIDPOINT = ButcherTableau(
    name="middle",
    order=2,
    a=((), (1 / 2,)),
    b=(0.0, 1.0),
    c=(0.0, 1 / 2),
    b_err=(-1.0, 1.0),
    b_err_low=(1.0, -1.0),
    error_order=2,
    dense_a=((1 / 8, 1 / 8, 0.0),),
    dense_c=(1 / 4,),
    dense_b=((1.0, -1.0), (0.0, 1.0), (0.0,), (0.0, 1.0, -1.0)),
)
BOGACKI_SHAMPINE = ButcherTableau(
    name="fsal",
    order=3,
    a=((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    b=(2 / 9, 1 / 3, 4 / 9, 0.0),
    c=(0.0, 1 / 2, 3 / 4, 1.0),
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": ((),)}, "a, b and c have 1, 2 and 2 entries"),
        ({"c": (0.0,)}, "a, b and c have 2, 2 and 1 entries"),
        ({"a": (), "b": (), "c": ()}, "a, b and c have 0, 0 and 0 entries"),
        ({"a": ((), (1 / 2, 0.0))}, "row 1 of a has 2 entries, and an explicit one has 1"),
        ({"a": ((0.0,), (1 / 2,))}, "row 0 of a has 1 entries, and an explicit one has 0"),
        ({"a": ((), (1 / 3,))}, r"row 1 of a sums to 0\.333.*, and its node c is 0\.5"),
        ({"a": ((), (math.nan,))}, "row 1 of a sums to nan"),
        ({"c": (0.1, 1 / 2)}, r"row 0 of a sums to 0, and its node c is 0\.1"),
        ({"b": (0.0, 1.1)}, r"entries of b sum to 1\.1, not 1"),
        ({"order": 0}, "order is 0, and must be at least 1"),
        ({"b_err": (0.0,)}, "b_err must have 2 entries, one a stage"),
        ({"b_err": (0.5, 0.0)}, r"entries of b_err sum to 0\.5, not 0"),
        ({"b_err_low": (0.5, 0.0)}, r"entries of b_err_low sum to 0\.5, not 0"),
        ({"b_err_low": (0.5, -0.5, 0.0)}, "b_err_low must have 2 entries, one a stage"),
        ({"b_err": None}, "b_err_low is given without b_err"),
        ({"b_err": None, "b_err_low": None}, "b_err and error_order go together"),
        ({"error_order": None}, "b_err and error_order go together"),
        ({"error_order": 0}, "error_order is 0, and must be at least 1"),
        ({"dense_c": ()}, "dense_a and dense_c have 1 and 0 entries"),
        ({"dense_a": ((1 / 8, 1 / 8),)}, "row 0 of dense_a has 2 entries, and must have 3"),
        ({"dense_a": ((1 / 8, 0.0, 0.0),)}, r"row 0 of dense_a sums to 0\.125, .* c is 0\.25"),
        ({"dense_b": None}, "dense_a is given without dense_b"),
        ({"dense_b": ((1.0, -1.0), (0.0, 1.0))}, "dense_b has 2 rows for 4 extended stages"),
        (
            {"dense_b": ((1.0, -1.0), (1.0, 1.0), (0.0,), (0.0,))},
            r"row 1 of dense_b is 2\.0 at theta = 1, where b is 1\.0",
        ),
        (
            {"dense_b": ((1.0, -1.0), (0.0, 1.0), (0.0,), (0.3,))},
            r"row 3 of dense_b is 0\.3 at theta = 1, where b is 0\.0",
        ),
    ],
)
def test_coefficients_that_are_no_method(change: dict, words: str) -> None:
    with pytest.raises(InputError, match=f"tableau 'middle': .*{words}"):
        replace(MIDPOINT, **change)


def test_the_extended_stages() -> None:
    """An end stage is appended where the method has none of its own; the extra ones follow."""
    assert MIDPOINT.rows == ((), (1 / 2,), (0.0, 1.0), (1 / 8, 1 / 8, 0.0))
    assert MIDPOINT.nodes == (0.0, 1 / 2, 1.0, 1 / 4)
    assert (MIDPOINT.stages, MIDPOINT.core_stages, MIDPOINT.end_index) == (2, 2, 2)
    assert not MIDPOINT.fsal
    assert BOGACKI_SHAMPINE.rows == BOGACKI_SHAMPINE.a
    assert BOGACKI_SHAMPINE.nodes == BOGACKI_SHAMPINE.c
    assert (BOGACKI_SHAMPINE.stages, BOGACKI_SHAMPINE.core_stages) == (4, 3)
    assert BOGACKI_SHAMPINE.end_index == 3
    assert BOGACKI_SHAMPINE.fsal


def test_a_last_stage_at_t1_is_not_enough_to_be_the_end_stage() -> None:
    heun = ButcherTableau(name="heun", order=2, a=((), (1.0,)), b=(0.5, 0.5), c=(0.0, 1.0))
    assert not heun.fsal
    assert heun.end_index == 2
    other = ButcherTableau(
        name="other", order=2, a=((), (1 / 2,), (1.0, 0.0)), b=(0.0, 1.0, 0.0), c=(0.0, 1 / 2, 1.0)
    )
    assert not other.fsal
    assert other.rows == (*other.a, other.b)
    euler_in_two = ButcherTableau(name="two", order=1, a=((), (1.0,)), b=(1.0, 0.0), c=(0.0, 1.0))
    assert euler_in_two.fsal


def test_dead_stages() -> None:
    dead = ButcherTableau(
        name="dead",
        order=2,
        a=((), (1 / 3,), (1 / 2, 0.0), (0.0, 1 / 4, 0.0)),
        b=(0.0, 0.0, 1.0, 0.0),
        c=(0.0, 1 / 3, 1 / 2, 1 / 4),
    )
    assert dead.dead_stages == (1, 3)
    assert MIDPOINT.dead_stages == ()
    assert BOGACKI_SHAMPINE.dead_stages == (3,)


def test_closure_goes_through_the_rows() -> None:
    """Zero weights and zero entries break a dependence; a chain of others carries it."""
    assert MIDPOINT.closure((0.0, 0.0, 0.0, 1.0)) == (0, 1, 3)
    assert MIDPOINT.closure((0.0, 0.0, 1.0, 0.0)) == (0, 1, 2)
    assert MIDPOINT.closure((1.0, 0.0)) == (0,)
    assert MIDPOINT.closure((0.0, 0.0, 0.0, 0.0)) == ()


@st.composite
def sparse_tableaus(draw: st.DrawFn) -> ButcherTableau:
    """Any explicit tableau with small whole-numbered entries, many of them zero."""
    entry = st.sampled_from((0.0, 0.0, 1.0, -2.0))
    stages = draw(st.integers(1, 6))
    a = tuple(tuple(draw(entry) for _ in range(i)) for i in range(stages))
    b = tuple(draw(entry) for _ in range(stages - 1))
    return ButcherTableau(
        name="any", order=1, a=a, b=(*b, 1.0 - sum(b)), c=tuple(float(sum(row)) for row in a)
    )


@given(sparse_tableaus(), st.data())
def test_closure_is_reachability(tableau: ButcherTableau, data: st.DataObject) -> None:
    """It equals what the powers of the matrix of dependences reach."""
    n = len(tableau.rows)
    weights = data.draw(st.lists(st.sampled_from((0.0, 1.0)), min_size=n, max_size=n))
    step = np.eye(n, dtype=int)
    for i, row in enumerate(tableau.rows):
        step[i, : len(row)] |= np.array(row[:n]) != 0
    reached = np.array(weights) @ np.linalg.matrix_power(step, n)
    assert tableau.closure(weights) == tuple(np.flatnonzero(reached))


@pytest.mark.parametrize("theta", [0.0, 0.25, 0.7, 1.0])
def test_dense_weights_are_the_given_polynomials(theta: float) -> None:
    expected = (theta - theta**2, theta**2, 0.0, theta**2 - theta**3)
    assert MIDPOINT.dense_weights(theta) == pytest.approx(expected, rel=1e-15, abs=1e-16)


@pytest.mark.parametrize("tableau", [BOGACKI_SHAMPINE, replace(MIDPOINT, dense_a=(), dense_c=(),
                                                               dense_b=None)])  # fmt: skip
def test_dense_weights_default_to_the_hermite_polynomial(tableau: ButcherTableau) -> None:
    """The cubic with y0, y1, k_0 and k_end at its ends, whatever the stages are."""
    y0, h = 0.3, 0.4
    ks = np.array([0.7, -1.3, 0.2, 2.1])[: len(tableau.rows)]
    y1 = y0 + h * np.dot(tableau.b, ks[: tableau.stages])
    spline = CubicHermiteSpline([0, h], [y0, y1], [ks[0], ks[tableau.end_index]])
    for theta in (0.0, 0.2, 0.5, 0.9, 1.0):
        weights: Row = tableau.dense_weights(theta)
        assert y0 + h * np.dot(weights, ks) == pytest.approx(float(spline(theta * h)), rel=1e-14)


def test_a_tableau_does_not_change() -> None:
    assert len(MIDPOINT.rows) == len(MIDPOINT.nodes)
    with pytest.raises(FrozenInstanceError):
        MIDPOINT.b = (1.0, 0.0)  # type: ignore[misc]
