"""BSDS300's patches drawn anew from its photographs, for those who have these and not the archive.

The Berkeley Segmentation Dataset 300 is a folder with 200 photographs in train/ and 100 in test/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from symadj.data.directory import data_dir
from symadj.data.grey_patches import DIM, PatchImages, draw_blocks, read_grey
from symadj.data.prepared import (
    Meta,
    PreparedData,
    Splits,
    is_prepared,
    prepare,
    prepared_path,
    read_meta,
    write_split,
)
from symadj.data.state import State, prepared_state
from symadj.errors import InputError

NAME = "patches drawn from the BSDS300 photographs"
COMMAND = "symadj-data build bsds300 IMAGES_DIR"
KEY = "bsds300_images"
VERSION = 1
COUNTS = (1_000_000, 50_000, 250_000)
SUFFIXES = (".jpg", ".jpeg", ".png")


class BSDSImages(PatchImages, PreparedData):
    """The patches that `symadj-data build bsds300` drew.

    They are made of the same photographs as the archive's BSDS300 and in the same way, but are
    other draws: densities of the two come close and are not the same number.

    Args:
        data_dir: the data directory; None: SYMADJ_DATA, else ~/.cache/symadj.

    Raises:
        InputError: they have not been built, or are damaged.
    """

    def __init__(self, data_dir: str | None = None) -> None:
        path = _path(data_dir)
        if not is_prepared(path):
            raise InputError(
                f"no patches of the BSDS300 photographs are in {path.parent}. Draw them by: "
                f"{COMMAND}"
            )
        note = "8x8 grey patches without their mean"
        if photographs := read_meta(path).details.get("photographs"):
            counts = ", ".join(f"{count} {split}" for split, count in photographs.items())
            note += f"; photographs: {counts}"
        super().__init__(NAME, path, note)

    @classmethod
    def state(cls, root: Path) -> State:
        """Whether the patches have been drawn."""
        return prepared_state(prepared_path(root, KEY, VERSION), "not built", COMMAND)


def build(
    images: str | Path,
    override: str | Path | None = None,
    seed: int = 0,
    counts: Sequence[int] = COUNTS,
) -> Path:
    """Draws the patches and keeps them, in the place of those that were drawn before.

    Training and validation patches come from train/, where one photograph in ten (at least one) is
    kept for validation; test patches from test/. No photograph is in two splits.

    Args:
        images: the folder with train/ and test/.
        override: the data directory; None: SYMADJ_DATA, else ~/.cache/symadj.
        seed: of the choice of the validation photographs, of positions and of noise.
        counts: patches of training, validation and test split.

    Returns:
        The directory of the prepared set.

    Raises:
        InputError: folders or photographs that are missing or cannot be read, a count below 1.
        SymadjError: the disk is full or cannot be written.
    """
    if len(counts) != 3 or min(counts) < 1:
        raise InputError(f"counts={tuple(counts)}; three whole numbers of at least 1 are needed.")
    if seed < 0:
        raise InputError(f"seed={seed}; it must be at least 0.")
    files = choose_photographs(Path(images).expanduser(), seed)
    return prepare(
        _path(override), lambda directory: _draw(directory, files, seed, counts), replace=True
    )


def choose_photographs(folder: Path, seed: int) -> dict[str, list[Path]]:
    """The photographs of each split.

    Raises:
        InputError: a folder is missing or holds too few of them.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give the one with the photographs.")
    inside = {name: _photographs(folder / name, folder) for name in ("train", "test")}
    if len(inside["train"]) < 2:
        raise InputError(f"{folder / 'train'} holds 1 photograph; training and validation need 2.")
    order = np.random.default_rng([seed, len(Splits._fields)]).permutation(len(inside["train"]))
    held = max(1, len(order) // 10)
    pick = [inside["train"][i] for i in order]
    return {"train": sorted(pick[held:]), "val": sorted(pick[:held]), "test": inside["test"]}


def _photographs(folder: Path, parent: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(
            f"{parent} has no folder {folder.name}; the BSDS300 photographs lie in the folders "
            "train (200) and test (100)."
        )
    found = sorted(file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{folder} holds no photographs ({', '.join(SUFFIXES)}).")
    return found


def _draw(directory: Path, files: dict[str, list[Path]], seed: int, counts: Sequence[int]) -> Meta:
    for i, (split, n) in enumerate(zip(Splits._fields, counts, strict=True)):
        photographs: list[NDArray[np.uint8]] = [read_grey(file) for file in files[split]]
        blocks = draw_blocks(photographs, n, np.random.default_rng([seed, i]))
        with tqdm(blocks, desc=f"{n} {split} patches", unit="block", disable=None) as shown:
            write_split(directory, split, (n, DIM), shown)
    photographs_of = {split: len(of_split) for split, of_split in files.items()}
    return Meta(details={"seed": seed, "counts": list(counts), "photographs": photographs_of})


def _path(override: str | Path | None) -> Path:
    return prepared_path(data_dir(override), KEY, VERSION)
