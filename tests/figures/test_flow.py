"""Figures of flows: every array is where its axes say it is, without pyplot."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib import _pylab_helpers
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from symadj.figures.flow import density_map, sample_sheet, tile


def drawn(figure: Figure) -> list[Axes]:
    """The figure's axes without a colour bar's."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


@pytest.mark.parametrize(("n", "rows", "columns"), [(1, 1, 1), (4, 2, 2), (5, 2, 3), (7, 3, 3)])
def test_tile_puts_image_i_in_row_i_over_columns(n: int, rows: int, columns: int) -> None:
    images = np.arange(1, n + 1)[:, None, None] * np.ones((n, 2, 3))
    sheet = tile(images)
    assert sheet.shape == (rows * 3 + 1, columns * 4 + 1)
    for i in range(n):
        top, left = 1 + 3 * (i // columns), 1 + 4 * (i % columns)
        assert (sheet[top : top + 2, left : left + 3] == i + 1).all()
    assert np.count_nonzero(sheet) == images.size


def test_the_sheet_has_real_images_left_and_samples_right() -> None:
    real, sampled = np.full((4, 8, 8), 0.25), np.full((9, 8, 8), 0.75)
    figure = sample_sheet(real, sampled, real_label="data", sampled_label="flow")
    left, right = drawn(figure)
    assert (left.get_title(), right.get_title()) == ("data", "flow")
    for ax, images in ((left, real), (right, sampled)):
        (image,) = ax.images
        np.testing.assert_array_equal(np.asarray(image.get_array()), tile(images))
        assert image.get_clim() == (0, 1)
        assert not ax.get_xticks().size


def test_the_density_lies_on_the_points_axes() -> None:
    points = np.array([[0.0, 1.0], [2.0, -1.0]])
    density = np.arange(6.0).reshape(2, 3)
    figure = density_map(points, density, (-1, 5, -2, 2), points + 1, labels=("u", "v"))
    data, samples, map_ = drawn(figure)
    for ax in (data, samples, map_):
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("u", "v")
        assert (ax.get_xlim(), ax.get_ylim()) == ((-1, 5), (-2, 2))
        assert ax.get_aspect() == 1
    (image,) = map_.images
    assert image.get_extent() == [-1, 5, -2, 2]
    assert image.origin == "lower"
    np.testing.assert_array_equal(np.asarray(image.get_array()), density)
    np.testing.assert_array_equal(np.asarray(data.collections[0].get_offsets()), points)
    np.testing.assert_array_equal(np.asarray(samples.collections[0].get_offsets()), points + 1)


@pytest.mark.parametrize(("peak", "top"), [(1.0, 1.0), (50.0, 1.0)])
def test_a_peak_of_a_few_cells_does_not_set_the_colours(peak: float, top: float) -> None:
    density = np.ones((20, 20))
    density[3, 4] = peak
    figure = density_map(np.zeros((2, 2)), density, (0, 1, 0, 1), np.zeros((2, 2)))
    (image,) = drawn(figure)[-1].images
    assert image.get_clim() == (0, top)
    assert image.colorbar is not None
    assert image.colorbar.extend == ("max" if peak > top else "neither")


def test_figures_leave_no_state_in_pyplot() -> None:
    images = np.zeros((4, 8, 8))
    sample_sheet(images, images)
    density_map(np.zeros((3, 2)), np.ones((4, 4)), (-1, 1, -1, 1), np.zeros((3, 2)))
    assert _pylab_helpers.Gcf.figs == {}
