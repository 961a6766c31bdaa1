"""Patches of photographs that come with packages: the stand-in for BSDS300."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symadj.data.base import VectorData
from symadj.data.grey_patches import DIM, PatchImages, draw_blocks, read_grey
from symadj.data.prepared import Splits
from symadj.data.state import State
from symadj.memory import require_memory
from symadj.packages import find_file, package_file
from symadj.ranges import require

NAME = "stand-in for BSDS300: patches of scikit-learn's and scikit-image's photographs"

# A photograph belongs to one split: patches of one photograph overlap and resemble each other.
PHOTOGRAPHS = {
    "train": (
        "sklearn/datasets/images/china.jpg",
        "skimage/data/astronaut.png",
        "skimage/data/brick.png",
        "skimage/data/camera.png",
        "skimage/data/clock_motion.png",
        "skimage/data/coffee.png",
        "skimage/data/coins.png",
        "skimage/data/gravel.png",
        "skimage/data/moon.png",
        "skimage/data/motorcycle_left.png",
    ),
    "val": ("skimage/data/chelsea.png", "skimage/data/rocket.jpg"),
    "test": ("sklearn/datasets/images/flower.jpg", "skimage/data/grass.png"),
}


class Patches(PatchImages, VectorData):
    """Patches of 8x8 grey pixels as in BSDS300 (63 columns), of 14 other photographs.

    Split by photograph. Densities of these patches cannot be compared with those of BSDS300;
    memory and time can, as they depend on the dimension and not on where the data come from.

    Args:
        seed: of the positions and of the dequantisation.
        train, val, test: patches in each split.

    Raises:
        InputError: scikit-image is missing (extra `images`), or a count below 1.
    """

    def __init__(
        self, seed: int = 0, train: int = 100_000, val: int = 10_000, test: int = 10_000
    ) -> None:
        require("data", seed=seed, train=train, val=val, test=test)
        needed = 8 * DIM * (train + val + test)
        require_memory(needed, f"train={train}, val={val}, test={test}: the patches", "take fewer")
        counts = Splits._fields, (train, val, test)
        splits = [_draw(split, n, seed) for split, n in zip(*counts, strict=True)]
        photographs = {split: len(files) for split, files in PHOTOGRAPHS.items()}
        super().__init__(
            NAME,
            *splits,
            note=f"8x8 grey patches without their mean; photographs: {photographs['train']} train, "
            f"{photographs['val']} validation, {photographs['test']} test",
        )

    @classmethod
    def state(cls, root: Path) -> State:
        """Whether the photographs are installed."""
        if find_file("skimage"):
            return State(True, "comes with scikit-learn and scikit-image")
        return State(False, "scikit-image is not installed", todo="pip install 'symadj[images]'")


def _draw(split: str, n: int, seed: int) -> Tensor:
    images = [read_grey(_photograph(name)) for name in PHOTOGRAPHS[split]]
    rng = np.random.default_rng([seed, Splits._fields.index(split)])
    return torch.from_numpy(np.concatenate(list(draw_blocks(images, n, rng))))


def _photograph(name: str) -> Path:
    package, *parts = name.split("/")
    return package_file(package, "images", *parts)
