"""Impacts are those of the equations of motion."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from symadj import InputError
from symadj.data.physics.bouncing_ball import BouncingBallData, impacts_of


def test_impacts_without_drag_are_those_of_school() -> None:
    """Dropped from q: t_k = t_1 (1 + 2 e + ... + 2 e^(k-1)), t_1 = sqrt(2 q / g)."""
    g, e, q = 9.81, 0.7, 2.0
    start = torch.tensor([[0.5, q, 1.5, 0.0]], dtype=torch.float64)
    times, places = impacts_of(start, 4, g, e, 0.0)
    first = np.sqrt(2 * q / g)
    wanted = first * (1 + 2 * np.cumsum([0, e, e**2, e**3]))
    assert np.abs(times[0].numpy() - wanted).max() < 1e-13
    assert np.abs(places[0].numpy() - 0.5 - 1.5 * wanted).max() < 1e-13


def test_impacts_with_drag_are_those_of_scipy() -> None:
    g, e, c = 5.0, 0.9, 0.7
    y, t = np.array([0.0, 2.0, 1.0, 1.5]), 0.0
    times, places = impacts_of(torch.tensor(y).unsqueeze(0), 3, g, e, c)

    def ground(t: float, y: np.ndarray) -> float:
        return y[1]

    ground.terminal, ground.direction = True, -1  # type: ignore[attr-defined]
    for k in range(3):
        found = solve_ivp(
            lambda t, y: [y[2], y[3], -c * y[2], -g - c * y[3]], (t, t + 9), y, events=ground,
            rtol=1e-11, atol=1e-12, method="DOP853",
        )  # fmt: skip
        t, y = found.t_events[0][0], found.y_events[0][0]
        assert abs(float(times[0, k]) - t) < 1e-9
        assert abs(float(places[0, k]) - y[0]) < 1e-9
        y = np.array([y[0], 0.0, y[2], -e * y[3]])


def test_rows_are_starts_with_impacts_and_noise_is_on_those_to_train_on() -> None:
    noisy, exact = BouncingBallData(50, noise=0.02, seed=3), BouncingBallData(50, noise=0, seed=3)
    assert (len(noisy.train), len(noisy.val), len(noisy.test)) == (40, 5, 5)
    assert noisy.columns == ("x", "z", "vx", "vz", "t1", "x1", "t2", "x2", "t3", "x3")
    assert noisy.train.shape == (40, 10)
    assert torch.equal(noisy.test, exact.test)
    start, times, places = noisy.parts(noisy.train)
    assert torch.equal(start, exact.train[:, :4])
    assert torch.equal(times, noisy.train[:, [4, 6, 8]])
    assert torch.equal(places, noisy.train[:, [5, 7, 9]])
    deviation = (noisy.train - exact.train)[:, 4:].std()
    assert 0.017 < float(deviation) < 0.023
    again = BouncingBallData(50, noise=0.02, seed=3)
    assert torch.equal(noisy.train, again.train)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"samples": 9}, "samples=9; .*at least 10"),
        ({"impacts": 1}, "impacts=1; .*from 2"),
        ({"restitution": 1.1}, "restitution=1.1"),
        ({"gravity": 0.0}, "gravity=0.0"),
        ({"drag": -1.0}, "drag=-1.0"),
    ],
)
def test_numbers_that_cannot_be(given: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        BouncingBallData(**given)
