"""Rounding errors: compared with backpropagation's batch by batch."""

from __future__ import annotations

import pandas as pd
import pytest

import rounding


def runs(errors: dict[str, tuple[float, ...]], control: str = "fixed", n: int = 10) -> pd.DataFrame:
    """An error for each batch, by method."""
    return pd.DataFrame(
        [
            {
                "status": "ok",
                "control": control,
                "point": f"N {n}",
                "seed": seed,
                "grad": grad,
                "metrics.gradient_error": error,
                "steps.accepted": 2 * n if grad == "adjoint" else n,
            }
            for grad, values in errors.items()
            for seed, error in enumerate(values)
        ]
    )


ERRORS = {
    "backprop": (1e-6, 4e-6, 1e-5),
    "checkpoint": (1e-6, 4e-6, 1e-5),
    "symplectic": (0.5e-6, 2e-6, 0.5e-5),
    "adjoint": (1e-3, 1e-3, 1e-3),
}


def test_ratios_are_of_the_same_batch_and_steps_are_the_forward_ones() -> None:
    points = rounding.summary(runs(ERRORS)).set_index("grad")
    assert set(points["N"]) == {10}
    assert set(points["batches"]) == {3}
    assert points.at["backprop", "error"] == pytest.approx((4e-17) ** (1 / 3))
    own = points.loc["symplectic"]
    assert own["ratio"] == pytest.approx(0.5)
    assert (own["ratio_low"], own["ratio_high"]) == pytest.approx((0.5, 0.5)), "paired: no spread"
    assert own["low"] < own["error"] < own["high"], "over batches there is one"


def test_the_verdict_names_the_most_steps_and_the_furthest_point() -> None:
    far = {"backprop": (1e-5, 2e-5), "symplectic": (1.01e-5, 2.02e-5)}
    both = pd.concat([runs(ERRORS), runs(far, n=3000)], ignore_index=True)
    told = rounding.verdicts(rounding.summary(both))
    assert [text.partition("'")[0] for text in told] == ["checkpoint", "symplectic"]
    assert told[0] == "checkpoint's error is backpropagation's to the last digit at every point."
    assert "1.01 [1.01, 1.01] times backpropagation's at the most steps, N = 3,000" in told[1]
    assert "0.5 [0.5, 0.5] times where it is furthest from it, N = 10" in told[1]
    assert told[1].endswith("below 1 at 1 of 2 points, above it at 1.")


def test_a_failed_run_takes_no_part() -> None:
    frame = runs(ERRORS)
    frame.loc[(frame["grad"] == "backprop") & (frame["seed"] == 0), "status"] = "oom"
    points = rounding.summary(frame).set_index("grad")
    assert points.at["backprop", "batches"] == 2
    assert points.at["symplectic", "ratio"] == pytest.approx(0.5)


def test_lines_on_top_of_each_other_are_not_drawn() -> None:
    errors = {**ERRORS, "symplectic_stages": ERRORS["symplectic"]}
    names = ["checkpoint", "symplectic", "symplectic_stages"]
    assert rounding._apart(rounding.summary(runs(errors)), names) == ["symplectic"]
