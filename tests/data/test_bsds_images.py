"""Patches of the BSDS300 photographs: drawn from the right ones, kept, named as what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from symadj.data.bsds_images import BSDSImages, build, choose_photographs
from symadj.errors import InputError

COUNTS = (300, 40, 50)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photographs in train/, 3 in test/, each with rows of a slope of its own: 3, 4, 5, ..."""
    folder = tmp_path_factory.mktemp("photographs")
    for part, slopes in (("train", range(3, 15)), ("test", range(15, 18))):
        (folder / part).mkdir()
        for slope in slopes:
            column = slope * np.arange(12, dtype=np.uint8)[:, None]
            image = np.broadcast_to(column, (12, 15)).copy()
            Image.fromarray(image).save(folder / part / f"{slope}.png")
    (folder / "train" / "Thumbs.db").write_text("")
    return folder


def slopes(x: torch.Tensor) -> set[int]:
    """The slopes of the photographs that vectors were drawn from."""
    pixels = 256 * torch.cat([x, -x.sum(1, keepdim=True)], dim=1).reshape(-1, 8, 8)
    return set(((pixels[:, -1].mean(1) - pixels[:, 0].mean(1)) / 7).round().int().tolist())


def test_no_photograph_is_in_two_splits(photographs: Path, root: Path) -> None:
    build(photographs, counts=COUNTS)
    data = BSDSImages()
    train, val, test = (slopes(split) for split in (data.train, data.val, data.test))
    assert train | val == set(range(3, 15))
    assert len(val) == 1
    assert not train & val
    assert test == {15, 16, 17}


def test_the_set_says_what_it_is(photographs: Path, root: Path) -> None:
    path = build(photographs, counts=COUNTS)
    data = BSDSImages()
    assert data.name == "patches drawn from the BSDS300 photographs"
    assert data.note.endswith("photographs: 11 train, 1 val, 3 test")
    assert path == root / "prepared" / "bsds300_images-v1"
    assert [len(split) for split in (data.train, data.val, data.test)] == list(COUNTS)
    assert (data.dim, data.image_shape) == (63, (8, 8))
    assert data.to_images(data.val).shape == (40, 8, 8)


def test_the_same_seed_draws_the_same_patches_and_a_rebuild_replaces(
    photographs: Path, root: Path, tmp_path: Path
) -> None:
    build(photographs, seed=1, counts=COUNTS)
    first = BSDSImages().train.clone()
    build(photographs, tmp_path / "elsewhere", seed=1, counts=COUNTS)
    assert torch.equal(BSDSImages(data_dir=str(tmp_path / "elsewhere")).train, first)
    build(photographs, seed=2, counts=COUNTS)
    assert not torch.equal(BSDSImages().train, first)


def test_the_validation_photographs_depend_on_the_seed(photographs: Path) -> None:
    chosen = {tuple(choose_photographs(photographs, seed)["val"]) for seed in range(10)}
    assert len(chosen) > 3


def test_the_state_follows_the_build(photographs: Path, root: Path) -> None:
    assert BSDSImages.state(root).todo == "symadj-data build bsds300 IMAGES_DIR"
    build(photographs, counts=COUNTS)
    assert BSDSImages.state(root).ready


def test_before_the_build_the_error_has_the_command(root: Path) -> None:
    with pytest.raises(InputError, match=r"by: symadj-data build bsds300 IMAGES_DIR$"):
        BSDSImages()


def test_missing_folders_and_photographs_are_named(tmp_path: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        build(tmp_path / "nowhere")
    with pytest.raises(InputError, match="has no folder train"):
        build(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"train holds no photographs \(\.jpg"):
        build(tmp_path)
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "train" / "a.jpg")
    (tmp_path / "test").mkdir()
    Image.fromarray(np.zeros((9, 9), dtype=np.uint8)).save(tmp_path / "test" / "a.jpg")
    with pytest.raises(InputError, match="training and validation need 2"):
        build(tmp_path)


@pytest.mark.parametrize("counts", [(0, 1, 1), (1, 1), (1, -1, 1)])
def test_counts_below_one_are_refused(photographs: Path, root: Path, counts) -> None:
    with pytest.raises(InputError, match="three whole numbers of at least 1"):
        build(photographs, counts=counts)
    with pytest.raises(InputError, match="seed=-1"):
        build(photographs, seed=-1)
