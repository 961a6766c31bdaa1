"""The step controller on scripted errors: every step size, to the last bit.

The numbers are powers of two wherever the formula allows, so that the expected step sizes are
exact: with an error estimate of order 2 a ratio r asks for a step r^(-1/2) times as long.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from symadj.errors import MaxStepsExceeded, NonFiniteError, StepSizeUnderflow
from symadj.ode.control import AdaptiveSteps, Progress
from symadj.ode.engine import integrate
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats

ORDER = 2
PLAIN: dict[str, Any] = {
    "first_step": 1.0,
    "safety": 1.0,
    "min_factor": 2.0**-6,
    "max_factor": 64.0,
    "pi_beta": 0.0,
}


class Scripted:
    """A solver whose attempts have the errors of a script, and that remembers their ends."""

    def __init__(self, ratios: Sequence[float]) -> None:
        self.ratios = list(ratios)
        self.steps: list[float] = []

    def begin(self, evaluate: Any, t0: float, y0: Any, k0: Any) -> tuple[Any, Any]:
        return y0, k0

    def y_of(self, state: Any) -> Any:
        return state

    def attempt(self, evaluate: Any, t0: float, t1: float, y: torch.Tensor, *_: Any) -> Any:
        self.steps.append(t1 - t0)
        return SimpleNamespace(ks=[None], y1=y, ratio=None)

    def estimate(self, *_: Any) -> list[torch.Tensor]:
        return []

    def ratio(self, *_: Any) -> torch.Tensor:
        return torch.tensor(self.ratios.pop(0) if self.ratios else 1.0, dtype=torch.float64)

    def dense(self, *_: Any) -> list[torch.Tensor]:
        return []

    def carry(self, attempt: Any) -> None:
        return None

    def retry(self, attempt: Any) -> None:
        return None


def steps(ratios: Sequence[float], end: float = 1e6, **options: Any) -> list[float]:
    """The lengths of as many attempts as there are ratios, from t = 0 towards `end`."""
    solver = Scripted(ratios)
    named: dict[str, Any] = {**PLAIN, "max_steps": len(ratios), **options}
    settings = SolverSettings("dopri5", **named)
    with contextlib.suppress(MaxStepsExceeded):
        solve(solver, settings, 0.0, end)
    return solver.steps


def solve(solver: Scripted, settings: SolverSettings, t0: float, t1: float) -> None:
    y0 = torch.ones(1, dtype=torch.float64)
    integrate(
        lambda t, y: y,
        solver,  # pyright: ignore[reportArgumentType]
        y0,
        (t0, t1),
        AdaptiveSteps(settings, (t0, t1), ORDER, torch.linalg.vector_norm),
        Progress(SolveStats(), "forward", t0, y0),
        ratio=solver.ratio,
    )


def test_an_accepted_step_is_followed_by_one_of_the_length_its_error_asks_for() -> None:
    # r^(-1/2): 1/4 -> 2, 1/16 -> 4, 1 -> 1.
    assert steps([1 / 4, 1 / 16, 1.0, 1.0]) == [1.0, 2.0, 8.0, 8.0]


def test_safety_is_a_factor_on_every_step() -> None:
    assert steps([1 / 16, 1 / 16, 1.0], safety=0.5) == [1.0, 2.0, 4.0]


def test_a_rejected_step_is_repeated_shorter() -> None:
    assert steps([4.0, 16.0, 1.0]) == [1.0, 0.5, 0.125]
    assert steps([4.0, 1.0], safety=0.5) == [1.0, 0.25]


def test_the_step_after_a_rejection_does_not_grow_and_the_next_one_may() -> None:
    assert steps([4.0, 1 / 4, 1 / 4, 1.0]) == [1.0, 0.5, 0.5, 1.0]


def test_it_may_shrink_after_a_rejection() -> None:
    # Accepted with r = 1, and safety asks for half of it.
    assert steps([16.0, 1.0, 1.0], safety=0.5) == [1.0, 0.125, 0.0625]


def test_growth_and_shrinking_have_their_limits() -> None:
    assert steps([2.0**-20, 1.0], max_factor=8.0) == [1.0, 8.0]
    assert steps([2.0**20, 1.0], min_factor=0.25) == [1.0, 0.25]
    # An accepted step's successor is not shorter than min_factor either.
    assert steps([1.0, 1.0], safety=0.125, min_factor=0.5) == [1.0, 0.5]


def test_an_error_of_nothing_counts_as_a_tiny_one() -> None:
    assert steps([0.0, 1.0], max_factor=1e6) == [1.0, pytest.approx(1e5, rel=1e-12)]


def test_an_error_that_is_no_number_shortens_by_the_smallest_factor_and_holds_growth() -> None:
    inf, nan = float("inf"), float("nan")
    assert steps([inf, nan, 1 / 16, 1 / 16, 1.0], min_factor=0.25) == [
        *(1.0, 0.25, 0.0625, 0.0625, 0.25),
    ]


def test_no_step_is_longer_than_max_step() -> None:
    assert steps([1 / 64, 1 / 64, 1.0], max_step=4.0) == [1.0, 4.0, 4.0]
    assert steps([1.0, 1.0], max_step=0.5) == [0.5, 0.5]


def test_a_step_of_min_step_is_accepted_whatever_its_error() -> None:
    assert steps([16.0, 100.0, 1 / 16, 1.0], min_step=0.5) == [1.0, 0.5, 0.5, 2.0]


def test_the_pi_controller_weighs_the_error_before() -> None:
    # Exponent 1/2 - 0.75 * 0.2 = 0.35, and r_before^0.2, which is 1 at first.
    first = (1 / 32) ** -0.35
    second = (1 / 32) ** -0.35 * (1 / 32) ** 0.2
    found = steps([1 / 32, 1 / 32, 1.0], pi_beta=0.2)
    assert found == pytest.approx([1.0, first, first * second], rel=1e-14)
    assert found[2] < first * first  # the I controller's


def test_the_error_before_is_that_of_the_last_accepted_step() -> None:
    found = steps([1 / 32, 4.0, 1.0, 1.0], pi_beta=0.2)
    first = 32**0.35
    repeated = first * 4.0**-0.35
    # Accepted with r = 1, r_before = 1/32: it would shrink by r_before^0.2 = 1/2.
    assert found == pytest.approx([1.0, first, repeated, repeated / 2], rel=1e-14)


def test_steps_backward_are_those_forward_mirrored() -> None:
    script = [1 / 4, 4.0, 1 / 16, 1.0]
    assert steps(script, end=-1e6) == [-h for h in steps(script)]


def test_a_step_that_all_but_reaches_the_end_lands_on_it() -> None:
    assert steps([1.0, 1.0], end=1.005) == [1.005]
    assert steps([1.0, 1.0], end=1.5) == [1.0, 0.5]


def test_a_step_cut_short_to_land_says_nothing_against_the_length_before() -> None:
    # 1, then cut to 0.25 for the stop at 1.25, whose tiny error asks for growth by max_factor = 2:
    # the length before the cut, 1, is the longer one.
    assert steps([1.0, 2.0**-20, 1.0], step_t=(1.25,), max_factor=2.0) == [1.0, 0.25, 1.0]


def test_a_solve_that_gets_nowhere_says_so() -> None:
    settings = SolverSettings("dopri5", **PLAIN)
    for ratio, kind in ((1e30, StepSizeUnderflow), (float("nan"), NonFiniteError)):
        solver = Scripted([ratio] * 1000)
        with pytest.raises(kind) as raised:
            solve(solver, settings, 1.0, 2.0)
        assert (raised.value.steps, raised.value.t) == (0, 1.0)
        # Each attempt 1/64 of the one before, until 16 units in the last place of t.
        assert raised.value.rejects == len(solver.steps) == 8
