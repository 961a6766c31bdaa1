"""Images with integer grey levels as vectors of real numbers: dequantised, then a logit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from symadj.data.base import VectorData, split_rows
from symadj.ranges import require


class GreyImages(VectorData):
    """Square images as vectors of real numbers.

    A pixel's level v in 0..L-1 is dequantised, spread over the real line and, on request,
    standardised by the pixel's mean and deviation over the training split (else mean 0, std 1):

        u = (v + U) / L,  y = logit(alpha + (1 - 2 alpha) u),  x = (y - mean) / std,  U ~ U(0, 1)

    Training batches draw U anew; `train`, `val` and `test` hold one draw each, fixed by the seed.

    Args:
        name: shown in tables and headers.
        pixels: [n, side * side], whole numbers from 0 to levels - 1, in any dtype.
        levels: L.
        side: height and width.
        alpha: keeps the logit away from its poles; the smaller, the heavier the tails of y.
        standardise: whether mean and std are those of y.
        seed: of the 80/10/10 split and of the fixed dequantisation.
        note: one line on what the images are.
        labels: the class of every image, whole numbers [n]; None: they have none.

    Attributes:
        mean, std: [side * side].

    Raises:
        InputError: an alpha outside (0, 0.5).
    """

    def __init__(
        self,
        name: str,
        pixels: Tensor,
        *,
        levels: int,
        side: int,
        alpha: float,
        standardise: bool,
        seed: int,
        note: str,
        labels: Tensor | None = None,
    ) -> None:
        require("data", alpha=alpha, seed=seed)
        self.alpha, self.levels, self.side = alpha, levels, side
        self.image_shape = (side, side)
        self._train_pixels, *held_out = split_rows(pixels.to(torch.float64), seed)
        generator = torch.Generator().manual_seed(seed)
        splits = [self._spread(v, generator) for v in (self._train_pixels, *held_out)]
        self.mean = torch.zeros(side * side, dtype=torch.float64)
        self.std = torch.ones(side * side, dtype=torch.float64)
        if standardise:
            # No pixel is constant: dequantisation moves even those that are 0 in every image.
            self.mean, self.std = splits[0].mean(0), splits[0].std(0, correction=0)
        super().__init__(name, *((y - self.mean) / self.std for y in splits), note=note)
        if labels is not None:
            self.set_labels(*split_rows(labels, seed))

    def training_rows(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Training images [n, dim], dequantised anew."""
        y = self._spread(self._train_pixels[rows], generator)
        return (y - self.mean) / self.std

    def bits_per_dim(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """Bits per pixel of the integer images, -(log p_u / D - ln L) / ln 2.

        p_u is the density of u; the change of variables from x adds sum log dx/du.

        Args:
            x: [n, dim].
            log_prob: the model's log density at x in nats, [n].
        """
        log_prob_u = log_prob + self.log_det(x)
        return -(log_prob_u / self.dim - math.log(self.levels)) / math.log(2)

    def log_det(self, x: Tensor) -> Tensor:
        """sum over the pixels of log dx/du, [n] for x [n, dim].

        dx/du = (1 - 2 alpha) / (s (1 - s) std) where s = sigmoid(y).
        """
        y = self._unstandardised(x)
        # -log(s (1 - s)) = softplus(y) + softplus(-y), without cancellation in the tails.
        spread = F.softplus(y) + F.softplus(-y) - self.std.to(x).log()
        return spread.sum(-1) + self.dim * math.log(1 - 2 * self.alpha)

    def pixels(self, x: Tensor) -> Tensor:
        """u of every pixel, [n, side, side] for x [n, dim]."""
        u = (torch.sigmoid(self._unstandardised(x)) - self.alpha) / (1 - 2 * self.alpha)
        return u.reshape(-1, self.side, self.side)

    def _spread(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """y of integer levels, with fresh U."""
        noise = torch.rand(pixels.shape, generator=generator, dtype=pixels.dtype)
        u = (pixels + noise) / self.levels
        return torch.logit(self.alpha + (1 - 2 * self.alpha) * u)

    def _unstandardised(self, x: Tensor) -> Tensor:
        return x * self.std.to(x) + self.mean.to(x)
