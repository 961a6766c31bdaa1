"""Handwritten digits: scikit-learn's 1,797 images of 8x8 pixels with 17 grey levels."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional as F

from symadj.data.base import VectorData, split_rows
from symadj.errors import InputError

LEVELS = 17
SIDE = 8


class Digits(VectorData):
    """The digits as vectors of 64 real numbers.

    A pixel's level v in 0..16 is dequantised, spread over the real line and standardised:

        u = (v + U) / 17,  y = logit(alpha + (1 - 2 alpha) u),  x = (y - mean) / std,  U ~ U(0, 1)

    with every pixel's mean and deviation over the training split. Training batches draw U anew;
    `train`, `val` and `test` hold one draw each, fixed by the seed. The images come with
    scikit-learn (UCI "Optical Recognition of Handwritten Digits", test part): nothing is
    downloaded.

    Args:
        alpha: keeps the logit away from its poles; the smaller, the heavier the tails of y.
        seed: of the 80/10/10 split and of the fixed dequantisation.

    Attributes:
        mean, std: of y's entries over the training split, [64].

    Raises:
        InputError: an alpha outside (0, 0.5).
    """

    image_shape = (SIDE, SIDE)

    def __init__(self, alpha: float = 0.01, seed: int = 0) -> None:
        if not 0 < alpha < 0.5:
            raise InputError(f"alpha={alpha}; it must lie strictly between 0 and 0.5.")
        self.alpha = alpha
        pixels, _ = load_digits(return_X_y=True)
        levels = torch.from_numpy(np.asarray(pixels, dtype=np.float64))
        self._train_levels, *held_out = split_rows(levels, seed)
        generator = torch.Generator().manual_seed(seed)
        splits = [self._spread(v, generator) for v in (self._train_levels, *held_out)]
        # No pixel is constant: the dequantisation moves even those that are 0 in every image.
        self.mean, self.std = splits[0].mean(0), splits[0].std(0, correction=0)
        super().__init__(
            "digits",
            *((split - self.mean) / self.std for split in splits),
            note="scikit-learn's handwritten digits, 8x8 pixels, dequantised, standardised",
        )

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n training images [n, 64], drawn with replacement and dequantised anew."""
        rows = torch.randint(len(self._train_levels), (n,), generator=generator)
        y = self._spread(self._train_levels[rows], generator)
        return ((y - self.mean) / self.std).to(torch.float32)

    def bits_per_dim(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """Bits per pixel of the integer images, -(log p_u / D - ln 17) / ln 2.

        p_u is the density of u; the change of variables from x adds sum log dx/du.

        Args:
            x: [n, 64].
            log_prob: the model's log density at x in nats, [n].
        """
        log_prob_u = log_prob + self.log_det(x)
        return -(log_prob_u / self.dim - math.log(LEVELS)) / math.log(2)

    def log_det(self, x: Tensor) -> Tensor:
        """sum over the pixels of log dx/du, [n] for x [n, 64].

        dx/du = (1 - 2 alpha) / (s (1 - s) std) where s = sigmoid(y).
        """
        y = self._unstandardised(x)
        # -log(s (1 - s)) = softplus(y) + softplus(-y), without cancellation in the tails.
        spread = F.softplus(y) + F.softplus(-y) - self.std.to(x).log()
        return spread.sum(-1) + self.dim * math.log(1 - 2 * self.alpha)

    def to_images(self, x: Tensor) -> Tensor:
        """u of every pixel, [n, 8, 8], clipped to [0, 1]."""
        u = (torch.sigmoid(self._unstandardised(x)) - self.alpha) / (1 - 2 * self.alpha)
        return u.clamp(0, 1).reshape(-1, SIDE, SIDE)

    def _spread(self, levels: Tensor, generator: torch.Generator) -> Tensor:
        """y of integer levels, with fresh U."""
        noise = torch.rand(levels.shape, generator=generator, dtype=levels.dtype)
        u = (levels + noise) / LEVELS
        return torch.logit(self.alpha + (1 - 2 * self.alpha) * u)

    def _unstandardised(self, x: Tensor) -> Tensor:
        return x * self.std.to(x) + self.mean.to(x)
