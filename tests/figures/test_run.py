from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from symadj.figures.run import (
    evaluations_per_iteration,
    loss_against_iteration,
    loss_against_time,
    run_figures,
)


def history(n: int = 6) -> pd.DataFrame:
    i = np.arange(1, n + 1)
    return pd.DataFrame(
        {
            "iteration": i,
            "wall": 0.5 * i,
            "loss": 10.0 / i,
            "forward": 20 + i,
            "recomputed": 0 * i,
            "with_graph": 18 + i,
            "accepted": 3 + 0 * i,
            "rejected": i % 2,
            "val_nll": np.where(i % 3 == 0, 9.0 / i, np.nan),
        }
    )


def lines(figure: Figure) -> dict[str, tuple[list[float], list[float]]]:
    found = {}
    for axes in figure.axes:
        for line in axes.get_lines():
            x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
            found[str(line.get_label())] = (x.tolist(), y.tolist())
    return found


@pytest.mark.parametrize(
    ("plot", "column"), [(loss_against_iteration, "iteration"), (loss_against_time, "wall")]
)
def test_the_loss_is_drawn_against_its_column(plot, column: str) -> None:
    table = history()
    drawn = lines(plot(table))
    assert drawn["training loss"] == (table[column].tolist(), table["loss"].tolist())
    assert drawn["validation nll"] == (table[column][[2, 5]].tolist(), [3.0, 1.5])


def test_evaluations_are_drawn_by_kind_and_absent_kinds_left_out() -> None:
    drawn = lines(evaluations_per_iteration(history()))
    assert drawn["forward"][1] == [21, 22, 23, 24, 25, 26]
    assert drawn["with graph"][1] == [19, 20, 21, 22, 23, 24]
    assert drawn["rejected"][1] == [1, 0, 1, 0, 1, 0]
    assert "recomputed without graph" not in drawn


def test_a_wild_loss_does_not_flatten_the_rest() -> None:
    table = history(200)
    table.loc[50, "loss"] = 1e9
    table.loc[60, "loss"] = np.inf
    [axes] = loss_against_iteration(table).axes
    assert axes.get_ylim()[1] < 100


@pytest.mark.parametrize("n", [0, 1])
def test_short_histories_are_drawn_too(n: int, tmp_path) -> None:
    for stem, figure in run_figures(history(n)).items():
        figure.savefig(tmp_path / f"{stem}.png")
    assert len(list(tmp_path.iterdir())) == (3 if n else 0)


@pytest.mark.parametrize(
    ("losses", "scale"),
    [([50.0, 3.0, 0.1], "log"), ([5.0, 3.0, 2.0], "linear"), ([50.0, 3.0, -0.1], "linear")],
)
def test_a_positive_loss_that_falls_far_has_a_logarithmic_axis(
    losses: list[float], scale: str
) -> None:
    table = pd.DataFrame({"iteration": [1, 2, 3], "loss": losses})
    [axes] = loss_against_iteration(table).axes
    assert axes.get_yscale() == scale
