from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from symadj.errors import InputError
from symadj.figures.style import COLUMN_WIDTH, PAGE_WIDTH, style_of
from symadj.report.curves import band
from symadj.report.frontier import Point, nondominated
from symadj.report.load import load_histories, load_rollouts, load_runs
from symadj.report.plots import (
    cost_bars,
    evaluation_curves,
    frontier,
    loss_curves,
    report_figures,
)
from tests.report.runs import MIB, straight, write_run


def cost(grad: str, memory: float, time: float, **more: Any) -> dict[str, Any]:
    """Changes of a record: its method and what it cost."""
    seconds = {"iteration": {"median": time, "q1": 0.9 * time, "q3": 1.2 * time, "n": 9}}
    return {"grad": grad, "memory": {"peak_bytes": int(memory * MIB)}, "seconds": seconds, **more}


COSTS = (
    cost("backprop", 400, 0.9),
    cost("aca", 40, 0.8),
    cost("symplectic", 10, 1.0),
    cost("adjoint", 20, 1.2),
)


def runs_of(folder: Path, *changes: dict[str, Any]) -> pd.DataFrame:
    for i, change in enumerate(changes):
        write_run(folder / f"{i:02d}", **change)
    return load_runs([folder]).frame


def histories_of(folder: Path, *runs: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    for i, change in enumerate(runs):
        write_run(folder / f"{i:02d}", **change)
    frame = load_runs([folder]).frame
    return frame, load_histories(frame).frame


def bars(ax: Axes) -> list[Rectangle]:
    """The filled bars; each has its hatch on a second one."""
    drawn = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    return [bar for bar in drawn if to_rgba(bar.get_facecolor())[3] == 1.0]


def xs(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_xdata(), dtype=float)


def ys(line: Line2D) -> np.ndarray:
    return np.asarray(line.get_ydata(), dtype=float)


def texts(ax: Axes) -> list[str]:
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_bars_are_as_long_as_the_means_and_in_the_colours_of_the_methods(tmp_path: Path) -> None:
    figure = cost_bars(runs_of(tmp_path, *COSTS))
    memory, time = figure.axes
    assert [bar.get_width() for bar in bars(memory)] == [400.0, 40.0, 20.0, 10.0]
    assert to_hex(bars(memory)[-1].get_facecolor()).upper() == style_of("symplectic").color
    assert memory.get_xlabel() == "peak memory (MiB)"
    assert time.get_xlabel() == "time (s/iteration)"
    assert texts(memory) == ["400", "40.0", "20.0", "10.0"]
    names = [label.get_text() for label in memory.get_yticklabels()]
    assert names == ["backprop", "aca", "adjoint", "symplectic"]


def test_a_failed_method_has_its_failure_instead_of_a_bar(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"grad": "backprop", "status": "oom"}, *COSTS[1:])
    memory = cost_bars(runs).axes[0]
    assert texts(memory)[0] == "OOM"
    assert min(bar.get_y() for bar in bars(memory)) > 0.5


def test_every_data_set_has_panels_of_its_own_and_says_so(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, *COSTS, cost("aca", 1, 1, data={"name": "gas"}))
    figure = cost_bars(runs)
    assert [ax.get_title() for ax in figure.axes] == ["digits", "digits", "gas", "gas"]
    assert figure.get_figwidth() == PAGE_WIDTH


def test_a_logarithmic_axis_shows_the_smallest_bar_and_leaves_room_for_failures(
    tmp_path: Path,
) -> None:
    runs = runs_of(tmp_path, {"grad": "backprop", "status": "oom"}, *COSTS[1:])
    memory, time = cost_bars(runs, log=("memory",)).axes
    assert (memory.get_xscale(), time.get_xscale()) == ("log", "linear")
    assert [bar.get_width() for bar in bars(memory)] == [40.0, 20.0, 10.0]
    low, high = memory.get_xlim()
    assert low == 5.0
    assert high > 40.0
    [oom] = [text for text in memory.texts if text.get_text() == "OOM"]
    assert isinstance(oom, Annotation)
    assert oom.xy[0] == low


def test_a_single_panel_fits_a_column(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, *COSTS)
    assert frontier(runs).get_figwidth() == COLUMN_WIDTH
    assert cost_bars(runs, cells=["memory"]).get_figwidth() == COLUMN_WIDTH


def test_the_frontier_joins_what_nothing_beats_and_labels_every_point(tmp_path: Path) -> None:
    (ax,) = frontier(runs_of(tmp_path, *COSTS)).axes
    line = ax.get_lines()[0]
    assert list(zip(xs(line), ys(line), strict=True)) == [(0.8, 40), (1.0, 10)]
    assert sorted(texts(ax)) == ["aca", "adjoint", "backprop", "symplectic"]
    assert ax.get_yscale() == "log"
    assert ax.get_xscale() == "linear"
    assert ax.get_ylabel() == "peak memory (MiB)"
    assert ax.get_xlabel() == "time (s/iteration)"


def test_no_label_of_the_frontier_hides_another_one(tmp_path: Path) -> None:
    names = ["backprop", "checkpoint", "torchdiffeq", "torchdiffeq adjoint", "aca", "diffrax"]
    near = [cost(name, 100 + 3 * i, 1 + 0.02 * i) for i, name in enumerate(names)]
    figure = frontier(runs_of(tmp_path, *near, cost("symplectic", 1, 2)))
    figure.draw_without_rendering()
    labels = [text for text in figure.axes[0].texts if text.get_text()]
    for a, b in combinations(labels, 2):
        assert not a.get_window_extent().overlaps(b.get_window_extent()), (a, b)


def test_the_frontier_names_failures_and_leaves_out_empty_panels(tmp_path: Path) -> None:
    failed = {"grad": "backprop", "status": "oom"}
    runs = runs_of(tmp_path, *COSTS[1:], failed, {**failed, "data": {"name": "gas"}})
    (ax,) = frontier(runs).axes
    assert ax.get_xlabel().endswith("backprop: OOM")


def test_a_frontier_without_points_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="memory and its time"):
        frontier(runs_of(tmp_path, {"memory": None}))


def test_a_point_equal_to_another_is_not_beaten_by_it() -> None:
    points = {"a": Point(1, 2), "b": Point(1, 2), "c": Point(1, 3), "d": Point(2, 1)}
    assert nondominated(points) == ["a", "b", "d"]


def test_loss_is_mean_and_deviation_over_seeds(tmp_path: Path) -> None:
    runs, histories = histories_of(
        tmp_path,
        {"seed": 0, "history": straight(50, 1.0)},
        {"seed": 1, "history": straight(40, 3.0)},
    )
    (ax,) = loss_curves(runs, histories).axes
    (line,) = ax.get_lines()
    np.testing.assert_allclose(ys(line), 2.0)
    # Beyond the end of the shorter run there is no mean of the two.
    assert (min(xs(line)), max(xs(line))) == (1, 40)
    edges = np.asarray(ax.collections[0].get_paths()[0].vertices)[:, 1]
    assert edges.min() == pytest.approx(2 - np.sqrt(2))
    assert edges.max() == pytest.approx(2 + np.sqrt(2))


def test_loss_against_time_is_interpolated_in_time(tmp_path: Path) -> None:
    falling = [{**row, "loss": 10.0 - row["iteration"]} for row in straight(9, 0.0)]
    slow = [{**row, "wall": 2 * row["wall"]} for row in falling]
    runs, histories = histories_of(
        tmp_path, {"seed": 0, "history": falling}, {"seed": 1, "history": slow}
    )
    both = band([frame for _, frame in histories.groupby("path")], "wall", "loss", False)
    assert both is not None
    # At wall-clock 6 the fast run is at iteration 6, the slow one at 3.
    at = int(np.argmin(np.abs(both.x - 6.0)))
    assert both.mean[at] == pytest.approx(10 - 4.5, abs=0.1)
    assert (both.x[0], both.x[-1]) == (2.0, 9.0)
    assert loss_curves(runs, histories, "wall").axes[0].get_xlabel() == "wall-clock time (s)"


def test_hours_of_training_are_drawn_in_hours(tmp_path: Path) -> None:
    runs, histories = histories_of(tmp_path, {"history": straight(10, 1.0, seconds=3600.0)})
    (ax,) = loss_curves(runs, histories, "wall").axes
    assert ax.get_xlabel() == "wall-clock time (h)"
    assert max(xs(ax.get_lines()[0])) == 10.0


def test_a_method_that_failed_always_is_drawn_as_far_as_it_got(tmp_path: Path) -> None:
    runs, histories = histories_of(
        tmp_path,
        {"history": straight(50, 1.0)},
        {"grad": "aca", "status": "nonfinite", "history": straight(5, 2.0)},
    )
    figure = loss_curves(runs, histories)
    assert max(xs(figure.axes[0].get_lines()[0])) == 5
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["aca", "symplectic", "ended early"]


def test_failed_runs_take_no_part_where_others_succeeded(tmp_path: Path) -> None:
    runs, histories = histories_of(
        tmp_path,
        {"history": straight(50, 1.0)},
        {"seed": 1, "status": "nonfinite", "history": straight(5, 9.0)},
    )
    (line,) = loss_curves(runs, histories).axes[0].get_lines()
    np.testing.assert_allclose(ys(line), 1.0)
    assert max(xs(line)) == 50


def test_losses_that_are_not_finite_are_left_out_of_the_curve(tmp_path: Path) -> None:
    history = straight(9, 1.0)
    history[4]["loss"], history[8]["loss"] = float("nan"), float("inf")
    runs, histories = histories_of(tmp_path, {"history": history})
    (line,) = loss_curves(runs, histories).axes[0].get_lines()
    np.testing.assert_allclose(ys(line), 1.0)
    assert max(xs(line)) == 8


def test_a_history_of_one_iteration_can_be_drawn(tmp_path: Path) -> None:
    runs, histories = histories_of(tmp_path, {"history": straight(1, 1.0)})
    figure = loss_curves(runs, histories)
    figure.draw_without_rendering()
    assert len(xs(figure.axes[0].get_lines()[0])) == 1


@pytest.mark.parametrize(("grad", "total"), [("symplectic", 40.0), ("backprop", 30.0)])
def test_evaluations_are_counted_once_each(tmp_path: Path, grad: str, total: float) -> None:
    runs, histories = histories_of(tmp_path, {"grad": grad, "history": straight(9, 1.0)})
    (ax,) = evaluation_curves(runs, histories).axes
    np.testing.assert_allclose(ys(ax.get_lines()[0]), total)
    assert ax.get_ylabel() == "evaluations per iteration"
    assert ax.get_ylim()[0] == 0


def test_all_figures_are_named_and_none_is_made_of_nothing(tmp_path: Path) -> None:
    runs, histories = histories_of(tmp_path, {"history": straight(9, 1.0)})
    stems = {"memory_time", "frontier", "loss_iteration", "loss_time", "evaluations"}
    assert set(report_figures(runs, histories)) == stems
    assert set(report_figures(runs, histories.iloc[:0])) == {"memory_time", "frontier"}
    failed = runs.assign(status="oom")
    assert report_figures(failed, histories.iloc[:0]) == {}


def test_lines_and_panels_can_be_of_any_names(tmp_path: Path) -> None:
    runs, histories = histories_of(
        tmp_path, *({"solver": s, "history": straight(9, 1.0)} for s in ("rk4", "heun"))
    )
    figures = report_figures(runs, histories, by=["grad", "solver"], panels=[])
    legend = figures["loss_iteration"].legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [
        "symplectic, heun",
        "symplectic, rk4",
    ]
    assert all(isinstance(figure, Figure) for figure in figures.values())


def test_drawing_leaves_no_state_in_pyplot(tmp_path: Path) -> None:
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    runs, histories = histories_of(tmp_path, {"history": straight(9, 1.0)})
    for figure in report_figures(runs, histories).values():
        figure.draw_without_rendering()
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_text_is_legible_at_the_width_it_is_made_for(tmp_path: Path) -> None:
    runs, histories = histories_of(tmp_path, {"history": straight(9, 1.0)})
    for figure in report_figures(runs, histories).values():
        assert COLUMN_WIDTH <= figure.get_figwidth() <= PAGE_WIDTH
        for ax in figure.axes:
            labels = [ax.xaxis.label, ax.yaxis.label, *ax.get_xticklabels(), *ax.texts]
            assert min(float(label.get_fontsize()) for label in labels) >= 7


def test_roll_outs_have_a_figure_for_each_data_set(tmp_path: Path) -> None:
    data = {"name": "spring 1", "dim": 2, "note": "", "train": 1, "val": 1, "test": 1}
    for i, (grad, name) in enumerate(
        [("aca", "spring 1"), ("symplectic", "spring 1"), ("symplectic", "own")]
    ):
        path = write_run(tmp_path / str(i), grad=grad, data={**data, "name": name})
        energy = ",energy_mse\n0,0,0\n1,4,9\n" if name != "own" else "\n0,0\n1,4\n"
        path.with_name("rollout.csv").write_text("t,state_mse" + energy)
    runs = load_runs([tmp_path]).frame
    rollouts = load_rollouts(runs).frame
    figures = report_figures(runs, pd.DataFrame({"path": []}), rollouts=rollouts)
    found = {name: figure for name, figure in figures.items() if "rollout" in name}
    assert set(found) == {"rollout_spring_1", "rollout_own"}
    state, energy = found["rollout_spring_1"].axes
    assert [line.get_label() for line in state.lines] == ["aca", "symplectic"]
    assert ys(energy.lines[0])[-1] == 9
    (single,) = found["rollout_own"].axes
    assert xs(single.lines[0]).tolist() == [1.0]
    one = report_figures(runs, pd.DataFrame({"path": []}), ("grad",), (), rollouts)
    assert "rollout" in one
