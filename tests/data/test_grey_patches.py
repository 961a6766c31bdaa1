"""Patches: where they are drawn, how they become vectors, and how they are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from symadj.data.grey_patches import (
    PatchImages,
    draw_blocks,
    draw_levels,
    read_grey,
    to_vectors,
)
from symadj.errors import InputError


def test_every_patch_lies_in_one_image_and_every_position_is_drawn() -> None:
    """Pixels that say where they are: value = image * 100 + row * 10 + column."""
    rows, columns = np.indices((9, 10))
    images = [(10 * rows + columns).astype(np.uint8), (100 + 10 * rows[:8] + columns[:8]) % 256]
    images[1] = images[1].astype(np.uint8)[:, :9]
    levels = draw_levels(images, 5000, np.random.default_rng(0)).reshape(-1, 8, 8)
    r, c = np.indices((8, 8))
    corners = levels[:, :1, :1].astype(int)
    np.testing.assert_array_equal(levels, corners + 10 * r + c)
    # 2 x 3 positions in the first image, 1 x 2 in the second, equally often
    found, counts = np.unique(corners, return_counts=True)
    assert found.tolist() == [0, 1, 2, 10, 11, 12, 100, 101]
    assert counts.min() > 500
    assert counts.max() < 750


def test_vectors_are_dequantised_levels_without_mean_and_last_pixel() -> None:
    levels = np.random.default_rng(0).integers(0, 256, size=(1000, 64))
    x = to_vectors(levels, np.random.default_rng(1))
    assert x.shape == (1000, 63)
    whole = np.concatenate([x, -x.sum(1, keepdims=True)], axis=1)
    # Up to each patch's mean, 256 u lies in [v, v + 1): all remainders fit one unit interval.
    rest = 256 * whole - levels
    spread = rest - rest.min(1, keepdims=True)
    assert spread.max() < 1 + 1e-3
    u = spread.ravel()
    assert 0.4 < u.mean() < 0.6
    assert u.std() > 0.25  # uniform noise, not none


def test_blocks_hold_as_many_vectors_as_asked_and_depend_on_the_seed(monkeypatch) -> None:
    monkeypatch.setattr("symadj.data.grey_patches.BLOCK", 40)
    image = np.random.default_rng(0).integers(0, 256, size=(20, 20)).astype(np.uint8)

    def draw(seed: int) -> list[np.ndarray]:
        return list(draw_blocks([image], 100, np.random.default_rng(seed)))

    assert [len(block) for block in draw(0)] == [40, 40, 20]
    assert all((a == b).all() for a, b in zip(draw(0), draw(0), strict=True))
    assert not (draw(0)[0] == draw(0)[1]).any(axis=1).all()
    assert not (draw(0)[0] == draw(1)[0]).all()


def test_a_patch_is_shown_around_middle_grey_with_its_last_pixel() -> None:
    patch = 0.4 * torch.rand(5, 64, dtype=torch.float64)
    centred = patch - patch.mean(1, keepdim=True)
    images = PatchImages().to_images(centred[:, :-1])
    torch.testing.assert_close(images, (centred + 0.5).reshape(5, 8, 8))
    assert PatchImages().to_images(10 * torch.randn(5, 63)).aminmax() == (0, 1)


def test_colours_become_their_luma(tmp_path: Path) -> None:
    colours = np.zeros((8, 8, 3), dtype=np.uint8)
    colours[0, 0], colours[0, 1], colours[0, 2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(colours).save(tmp_path / "a.png")
    assert read_grey(tmp_path / "a.png")[0, :4].tolist() == [76, 150, 29, 0]


def test_what_is_no_image_or_too_small_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"a\.jpg cannot be read as an image"):
        read_grey(tmp_path / "a.jpg")
    Image.fromarray(np.zeros((7, 9), dtype=np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png is \(7, 9\) pixels; at least 8x8"):
        read_grey(tmp_path / "b.png")
