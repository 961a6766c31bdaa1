from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from symadj.figures.physics import (
    errors_over_time,
    invariants,
    phase_portraits,
    space_time,
    time_series,
)

T = np.linspace(0, 1, 11)
X = np.linspace(0, 9, 10)


def wave(phase: float = 0.0) -> np.ndarray:
    return np.sin(T[:, None] * 3 + X + phase)


def images(figure: Figure) -> list:
    return [ax.images[0] for ax in figure.axes if ax.images]


def rendered(figure: Figure) -> Figure:
    figure.canvas.draw()
    return figure


def test_truth_and_prediction_share_their_colours_and_the_difference_has_its_own() -> None:
    figure = rendered(space_time(T, X, wave(), 1.5 * wave(), {"t": "s", "u": "m"}, "waves"))
    truth, predicted, difference = images(figure)
    assert truth.get_clim() == predicted.get_clim()
    assert truth.get_clim()[1] == pytest.approx(np.abs(wave()).max())
    assert difference.get_clim() == pytest.approx(
        (-0.5 * np.abs(wave()).max(), 0.5 * np.abs(wave()).max())
    )
    assert np.allclose(predicted.get_array(), 1.5 * wave().T)
    assert truth.get_extent() == pytest.approx([-0.05, 1.05, -0.5, 9.5])
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    assert titles == ["waves: truth", "waves: prediction", "prediction - truth"]
    assert {ax.get_xlabel() for ax in figure.axes if ax.images} == {"time t [s]"}
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert {"position x", "u [m]", "difference [m]"} <= set(labels)


def test_what_was_not_predicted_is_masked() -> None:
    predicted = wave()
    predicted[6:] = np.nan
    _, drawn, difference = images(rendered(space_time(T, X, wave(), predicted)))
    assert np.ma.getmaskarray(drawn.get_array())[:, 6:].all()
    assert np.ma.getmaskarray(drawn.get_array()).sum() == 50
    assert np.ma.getmaskarray(difference.get_array()).sum() == 50
    rendered(space_time(T, X, wave(), np.full_like(wave(), np.nan)))


def test_a_positive_field_is_drawn_from_its_least_value() -> None:
    truth, _, _ = images(space_time(T, X, wave() + 3, wave() + 3))
    assert truth.get_clim() == pytest.approx((wave().min() + 3, wave().max() + 3))


def test_every_invariant_has_a_panel_with_truth_and_prediction() -> None:
    truth = np.stack([T * 0 + 1, T * 0 + 2])
    figure = rendered(
        invariants(T, {"energy": (truth, truth + T), "mass": (truth, truth)}, {"energy": "J"})
    )
    assert [ax.get_ylabel() for ax in figure.axes] == ["energy [J]", "mass"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "time t"]
    assert all(len(ax.lines) == 4 for ax in figure.axes)
    assert np.allclose(np.asarray(figure.axes[0].lines[3].get_ydata()), 2 + T)


def test_rounding_errors_fill_no_panel_and_a_runaway_hides_no_truth() -> None:
    truth = np.full((1, 11), 5.0)
    figure = invariants(T, {"mass": (truth, truth + 1e-15 * T), "energy": (truth, truth + 1e6 * T)})
    low, high = figure.axes[0].get_ylim()
    assert high - low > 0.1
    low, high = figure.axes[1].get_ylim()
    assert low < 5 < high < 100
    rendered(invariants(T, {"mass": (0 * truth, 0 * truth)}))


def test_portraits_of_every_pair_with_named_axes() -> None:
    truth = np.random.default_rng(0).normal(size=(2, 11, 4))
    predicted = truth.copy()
    predicted[0, 5:] = np.nan
    figure = rendered(
        phase_portraits(
            truth, predicted, ((0, 2), (1, 3)), ("q1", "x", "p1", "p2"), {"q1": "rad"}, "two"
        )
    )
    first, second = figure.axes
    assert (first.get_xlabel(), first.get_ylabel()) == ("q1 [rad]", "p1")
    assert (second.get_xlabel(), second.get_ylabel()) == ("x", "p2")
    assert np.allclose(np.asarray(second.lines[2].get_xdata()), truth[1, :, 1])
    assert (first.get_aspect(), second.get_aspect()) == ("auto", 1.0), "equal where units agree"


def test_a_single_entry_over_time() -> None:
    truth = np.sin(T)[None, :, None]
    figure = rendered(time_series(T, truth, truth + 0.1, "one"))
    (ax,) = figure.axes
    assert ax.get_xlabel() == "time t"
    assert len(ax.lines) == 2


def test_errors_of_methods_over_prediction_time() -> None:
    def table(scale: float, upto: int = 11) -> pd.DataFrame:
        error = np.where(np.arange(11) < upto, scale * T**2, np.nan)
        return pd.DataFrame({"t": T, "state_mse": error, "energy_mse": 2 * error})

    figure = rendered(
        errors_over_time(
            {"symplectic": [table(1.0), table(3.0), table(2.0)], "adjoint": [table(5.0, 6)]},
            units={"t": "s", "state": "m"},
        )
    )
    state, energy = figure.axes
    symplectic, adjoint = state.lines
    assert np.allclose(np.asarray(symplectic.get_ydata()), 2 * T[1:] ** 2)
    assert np.isnan(np.asarray(adjoint.get_ydata())[5:]).all()
    assert state.get_yscale() == "log"
    assert state.get_xlabel() == "prediction time t [s]"
    assert state.get_ylabel() == "mean squared error of the state [m$^2$]"
    assert energy.get_ylabel() == "mean squared error of the energy"
    assert len(state.collections) == 1, "a band where there are several runs"


def test_baselines_are_grey_lines_beside_the_methods_and_far_ones_leave_the_panel() -> None:
    error = 1e-3 * T**2
    columns = {"state_mse": error, "energy_mse": error, "reached": 1.0}
    baselines = {
        "state_mse_persistence": T**2,
        "state_mse_linear": 1e30 * T,
        "energy_mse_persistence": 1e-28 * T,
    }
    table = pd.DataFrame({"t": T, **columns, **baselines})
    state, energy = rendered(errors_over_time({"aca": [table, table]})).axes
    labels = [str(line.get_label()) for line in state.lines]
    assert labels == ["aca", "nothing moves (persistence)", "linear model"]
    assert len({line.get_color() for line in state.lines[1:]}) == 1
    assert np.allclose(np.asarray(state.lines[1].get_ydata()), T[1:] ** 2)
    assert state.get_ylim()[1] < 1e4
    assert energy.get_ylim()[0] > 1e-12


def test_nothing_is_drawn_where_no_roll_out_got_to() -> None:
    reached = np.where(np.arange(11) < 4, 1.0, 0.0)
    table = pd.DataFrame({"t": T, "state_mse": 1 + T, "reached": reached})
    (ax,) = errors_over_time({"aca": [table]}, ("state_mse",)).axes
    assert np.isfinite(np.asarray(ax.lines[0].get_ydata())).sum() == 3
