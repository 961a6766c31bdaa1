from __future__ import annotations

import numpy as np
import pandas as pd

from symadj.figures.guide import image_sheets, loss_over_uses, states_on_the_way, trajectories


def test_sheets_leave_out_what_is_not_known() -> None:
    images = np.full((4, 3, 3), 0.5)
    hidden = images.copy()
    hidden[:, 1:] = np.nan
    figure = image_sheets([("before", images), ("given", hidden)])
    shown = [ax.images[0].get_array() for ax in figure.axes]
    assert [ax.get_title() for ax in figure.axes] == ["before", "given"]
    assert [int(np.ma.count_masked(sheet)) for sheet in shown] == [0, 4 * 6]  # pyright: ignore[reportArgumentType]


def test_states_have_a_row_for_each_sample_and_a_column_for_each_time() -> None:
    images = np.arange(2 * 3)[:, None, None, None] * np.ones((6, 4, 2, 2)) / 6
    figure = states_on_the_way([("guided", images, [0, 0.2, 0.4, 0.6, 0.8, 1])])
    sheet = figure.axes[0].images[0].get_array()
    assert sheet is not None
    assert sheet.shape == (4 * 3 + 1, 6 * 3 + 1)
    assert sheet[1, 1::3].tolist() == [*images[:, 0, 0, 0]]
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()][-1] == "1"


def test_trajectories_begin_at_rings_and_end_at_points() -> None:
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(5, 3, 2)), rng.normal(size=(4, 3, 2))
    figure = trajectories(rng.normal(size=(9, 2)), before, after, (1, 2))
    for ax, path in zip(figure.axes, (before, after), strict=True):
        _, starts, ends = ax.collections
        np.testing.assert_array_equal(np.asarray(starts.get_offsets()), path[0])
        np.testing.assert_array_equal(np.asarray(ends.get_offsets()), path[-1])
        assert len(ax.lines) == 3 + 1


def test_losses_have_their_range_and_the_best_so_far_where_it_is_kept() -> None:
    history = pd.DataFrame({"iteration": [1, 2], "loss": [3.0, 2.0], "loss_least": [1.0, 1.0]})
    history = history.assign(loss_most=5.0, loss_kept=[3.0, 1.5])
    lines = [line.get_label() for line in loss_over_uses(history).axes[0].lines]
    assert lines == ["mean, as tried", "mean of the best so far"]
    alone = loss_over_uses(history.assign(loss_kept=np.nan)).axes[0].lines
    assert len(alone) == 1
