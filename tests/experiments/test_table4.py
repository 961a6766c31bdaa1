"""What Table 4 says of records, made by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import table4_report
from symadj.report.names import MISSING

BASELINES = {"persistence": 4.0, "linear": 2.0, "true_field": 1e-6}


def training(grad: str, seed: int, state: float, failed: float = 0.0, **more: object) -> dict:
    known = {f"metrics.test/state_mse_{name}": value for name, value in BASELINES.items()}
    return {
        "part": "train",
        "data.name": "KdV",
        "grad": grad,
        "seed": seed,
        "status": "ok",
        "iterations": 10,
        "steps.accepted": 30,
        "data.test": 10,
        "metrics.test/state_mse": state,
        "metrics.test/derivative_mse": 0.5,
        "metrics.test/energy_mse": 0.25,
        "metrics.test/rollout_failed": failed,
        "metrics.test/rollout_failed_linear": 1.0,
        "metrics.test/rollout_failed_true_field": 0.0,
        **known,
        **more,
    }


def trained(states: dict[str, list[float]]) -> pd.DataFrame:
    rows = [training(grad, i, s) for grad, own in states.items() for i, s in enumerate(own)]
    return table4_report.scored(pd.DataFrame(rows))


def measured(memory: dict[str, float]) -> pd.DataFrame:
    rows = [
        {
            "data.name": "KdV",
            "grad": grad,
            "status": "ok",
            "memory.peak_bytes": peak,
            "seconds.iteration.median": 1.0,
        }
        for grad, peak in memory.items()
    ]
    return pd.DataFrame(rows)


BACKPROP = [0.1, 0.2, 0.05]
LEAN = {"backprop": 100.0, "adjoint": 10.0, "symplectic": 1.0}


def times(factor: float) -> list[float]:
    return [factor * state for state in BACKPROP]


@pytest.mark.parametrize(
    ("states", "memory", "word"),
    [
        ({"symplectic": times(1.01), "adjoint": times(0.95)}, LEAN, "confirmed"),
        ({"symplectic": times(1.01), "adjoint": times(1.5)}, LEAN, "confirmed"),
        ({"symplectic": times(1.5), "adjoint": times(1.01)}, LEAN, "refuted"),
        ({"symplectic": [0.1, 0.4, 0.05]}, LEAN, "too small to say"),
        ({"symplectic": BACKPROP}, {**LEAN, "adjoint": 0.5}, "refuted"),
        ({"symplectic": BACKPROP}, {}, "too small to say"),
        ({"symplectic": BACKPROP[:1]}, LEAN, "too small to say"),
    ],
)
def test_the_verdict_follows_from_differences_and_memory(
    states: dict[str, list[float]], memory: dict[str, float], word: str
) -> None:
    runs = trained({"backprop": BACKPROP, **states})
    costs = measured(memory) if memory else pd.DataFrame(columns=["data.name", "grad", "status"])
    told = table4_report.verdict(runs, costs, "KdV")
    assert told.startswith(f"KdV: {word}.")


def test_a_verdict_has_the_figures_that_it_is_made_of() -> None:
    runs = trained({"backprop": BACKPROP, "adjoint": times(1.1), "symplectic": BACKPROP})
    told = table4_report.verdict(runs, measured(LEAN), "KdV")
    assert "9 of 9 trainings predict better" in told
    assert "0.0125 to 0.055" in told
    assert "0 of 90 roll-outs failed" in told
    assert "differs by 0 % [0, 0], adjoint's most, by 10 % [10, 10]" in told
    assert "by a factor of up to 4;" in told
    of = told.partition("symplectic's memory is ")[2]
    assert "0.1 of adjoint's" in of
    assert "0.01 of backprop's" in of


def test_models_that_persistence_beats_confirm_nothing_and_are_no_result() -> None:
    runs = trained({"backprop": [5.0, 6.0, 7.0], "symplectic": [5.0, 6.0, 7.0]})
    told = table4_report.verdict(runs, measured(LEAN), "KdV")
    assert told.startswith("KdV: too small to say. 0 of 6 trainings predict better")
    row = table4_report.errors_table(runs).loc[("KdV", "symplectic")]
    assert row["state MSE"] == row["against backprop"] == MISSING
    assert row["of persistence"] == "1.5 [1.25, 1.75] (0 of 3 beat both baselines: no result)"


def test_a_model_that_beats_persistence_a_little_confirms_nothing() -> None:
    runs = trained({"backprop": [1.0, 1.0, 1.0], "symplectic": [1.0, 1.0, 1.0]})
    assert table4_report.verdict(runs, measured(LEAN), "KdV").startswith("KdV: too small to say.")
    assert table4_report.errors_table(runs).loc[("KdV", "symplectic"), "state MSE"] == "1 [1, 1]"


def test_models_that_the_linear_model_beats_are_no_result() -> None:
    runs = trained({"backprop": [0.1, 3.0, 0.1], "symplectic": [0.1, 0.1, 0.1]})
    told = table4_report.verdict(runs, measured(LEAN), "KdV")
    assert told.startswith("KdV: too small to say. 5 of 6 trainings predict better")
    table = table4_report.errors_table(runs).loc["KdV"]
    assert "2 of 3 beat both baselines: no result" in table.loc["backprop", "of persistence"]
    assert table.loc["symplectic", "state MSE"] != MISSING


def test_the_table_has_baselines_methods_and_failed_roll_outs() -> None:
    rows = [
        training("backprop", 0, 0.1),
        training("adjoint_full", 0, 0.2, failed=2.0),
        training("symplectic", 0, 0.1, status="nonfinite"),
    ]
    table = table4_report.errors_table(table4_report.scored(pd.DataFrame(rows))).loc["KdV"]
    assert list(table["state MSE"][:3]) == ["4", "2", "1e-06"]
    assert list(table["of persistence"][:3]) == ["1", "0.5", "2.5e-07"]
    assert list(table["failed roll-outs"][:3]) == [MISSING, "1 of 10", "0 of 10"]
    assert table.loc["adjoint_full", "failed roll-outs"] == "2 of 10"
    assert table.loc["adjoint_full", "against backprop"] == "1e+02 %"
    assert table.loc["backprop", "steps"] == "3"
    assert (
        table.loc["symplectic", "of persistence"]
        == f"{MISSING} (0 of 1 beat both baselines: no result)"
    )


def test_the_figure_has_a_dot_for_every_seed_and_method() -> None:
    runs = trained({"backprop": BACKPROP, "adjoint": times(1.1), "symplectic": BACKPROP})
    (ax,) = table4_report.differences_figure(runs).axes
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names[0] == "seed to seed"
    assert set(names[1:]) == {"adjoint", "symplectic"}
    drawn = dict(zip(names, ax.lines, strict=False))
    assert np.asarray(drawn["adjoint"].get_ydata()) == pytest.approx([10, 10, 10])
    own = np.asarray(drawn["seed to seed"].get_ydata())
    assert (own / 100 + 1).prod() == pytest.approx(1)


def test_the_whole_trainings_stand_beside_what_was_published() -> None:
    sheet = table4_report.full_sheet(
        table4_report.scored(pd.DataFrame([training("symplectic", 0, 1.23e-4)]))
    )
    assert sheet.table.loc[("KdV", "symadj, 10 iterations, seed 0")].tolist() == [
        *("0.5", "0.000123", "0.25", "0 of 10"),
    ]
    column = sheet.table["roll-out: state MSE"]
    assert column["KdV", "published (HNN++, dopri5), 15 trials"] == "0.000335"
    assert column["KdV", "nothing moves (persistence)"] == "4"
