"""Handwritten digits: scikit-learn's 1,797 images of 8x8 pixels with 17 grey levels."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits

from symadj.data.grey_images import GreyImages


class Digits(GreyImages):
    """The digits as vectors of 64 numbers, dequantised and spread as `GreyImages` says.

    The label of an image is its digit.

    The images come with scikit-learn (UCI "Optical Recognition of Handwritten Digits", test part):
    nothing is downloaded.

    Args:
        alpha: keeps the logit away from its poles (FFJORD: 1e-6).
        standardise: whether every pixel gets mean 0 and deviation 1 (FFJORD: not).
        seed: of the 80/10/10 split and of the fixed dequantisation.

    Raises:
        InputError: an alpha outside (0, 0.5).
    """

    def __init__(self, alpha: float = 0.01, standardise: bool = True, seed: int = 0) -> None:
        pixels, digits = load_digits(return_X_y=True)
        super().__init__(
            "digits",
            torch.from_numpy(np.asarray(pixels)),
            levels=17,
            side=8,
            alpha=alpha,
            standardise=standardise,
            seed=seed,
            note="scikit-learn's handwritten digits, 8x8 pixels, dequantised"
            + (", standardised" if standardise else ""),
            labels=torch.from_numpy(np.asarray(digits)),
        )
