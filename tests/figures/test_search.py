from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from symadj.config.space import searched
from symadj.figures.search import search_figures

SPACE = searched(
    ["optim.lr=tag(log,interval(1e-4,1))", "model.hidden=choice([8],[16])", "n=range(1,4)"]
)[1]
TRIALS = pd.DataFrame(
    {
        "number": [0, 1, 2, 3, 4],
        "status": ["finished", "pruned", "failed", "finished", "finished"],
        "value": [3.0, 5.0, np.nan, 2.5, 1e6],
        "optim.lr": [1e-4, 1e-1, 1.0, 1e-2, 1e-3],
        "model.hidden": ["[8]", "[16]", "[8]", "[8]", "[16]"],
        "n": [1, 2, 3, 3, 2],
    }
)


def legend(figure: Figure) -> set[str]:
    return {text.get_text() for text in figure.legends[0].get_texts()}


@pytest.fixture(scope="module")
def figures() -> dict[str, Figure]:
    made = search_figures(TRIALS, SPACE, "val/nll", importance={"n": 0.2, "optim.lr": 0.8})
    for figure in made.values():
        figure.canvas.draw()
    return made


def test_all_four_are_drawn_with_the_metric_and_its_unit(figures: dict[str, Figure]) -> None:
    assert set(figures) == {"history", "slices", "parallel", "importance"}
    assert figures["history"].axes[0].get_ylabel() == "val/nll (nats)"
    assert figures["slices"].axes[0].get_ylabel() == "val/nll (nats)"
    assert figures["parallel"].axes[1].get_ylabel() == "val/nll (nats)"


def test_pruned_failed_and_far_off_trials_are_marked_and_do_not_set_the_scale(
    figures: dict[str, Figure],
) -> None:
    for name in ("history", "slices"):
        expected = {
            "finished",
            "pruned, at its last validation",
            "failed",
            "finished, off the scale",
        }
        assert expected <= legend(figures[name])
        assert figures[name].axes[0].get_ylim()[1] < 20
    assert legend(figures["parallel"]) == {"pruned", "failed"}


def test_the_best_so_far_only_falls(figures: dict[str, Figure]) -> None:
    [line] = [x for x in figures["history"].axes[0].lines if x.get_label() == "best so far"]
    assert list(np.asarray(line.get_ydata())) == [3.0, 2.5, 2.5, 2.5]


def test_a_setting_s_axis_is_that_of_its_range(figures: dict[str, Figure]) -> None:
    lr, hidden, _ = figures["slices"].axes
    assert lr.get_xscale() == "log"
    assert [text.get_text() for text in hidden.get_xticklabels()] == ["[8]", "[16]"]


def test_parallel_lines_are_at_the_parts_of_their_ranges(figures: dict[str, Figure]) -> None:
    lines = [np.asarray(x.get_ydata()) for x in figures["parallel"].axes[0].lines]
    first = next(y for y in lines if len(y) == 4)
    assert first[:3] == pytest.approx([0.0, 0.0, 0.0])
    assert any(len(y) == 3 and y == pytest.approx([0.75, 1.0, 0.5]) for y in lines)


def test_the_greatest_is_the_best_where_it_is_looked_for() -> None:
    figure = search_figures(TRIALS.head(4), SPACE, "val/score", maximize=True)["history"]
    [line] = [x for x in figure.axes[0].lines if x.get_label() == "best so far"]
    assert list(np.asarray(line.get_ydata())) == [3.0, 3.0, 3.0]


def test_trials_that_all_failed_but_one_can_be_drawn() -> None:
    trials = TRIALS.assign(status=["finished"] + ["failed"] * 4, value=[1.0] + [np.nan] * 4)
    for figure in search_figures(trials, SPACE, "val/nll").values():
        figure.canvas.draw()
