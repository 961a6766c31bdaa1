"""A blurred image is given, a sharp one is wanted."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from symadj.guide.goals.base import Measurement
from symadj.ranges import require


class Deblur(Measurement):
    """Blurred images are given: A is a convolution with a normal density, 0 beyond the edges.

    Args:
        width: deviation of the density, in pixels; it is cut off at three of them and has sum 1.
        noise: deviation of the noise on blurred pixels, of values from 0 to 1.
        seed: of the noise.

    Raises:
        InputError: a number out of its range.
    """

    name = "deblur"

    def __init__(self, width: float = 1.0, noise: float = 0.0, seed: int = 0) -> None:
        require("goal", width=width, noise=noise, seed=seed)
        super().__init__(noise, seed)
        reach = max(1, round(3 * width))
        density = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width).square())
        self._kernel = density / density.sum()
        self.description = f"deblur: a normal density of deviation {width:g} pixels"

    def measure(self, images: Tensor) -> Tensor:
        """Blurred images [B, height, width]: along the rows, then along the columns."""
        kernel, reach = self._kernel.to(images), len(self._kernel) // 2
        across = F.conv2d(images.unsqueeze(1), kernel.reshape(1, 1, 1, -1), padding=(0, reach))
        return F.conv2d(across, kernel.reshape(1, 1, -1, 1), padding=(reach, 0)).squeeze(1)

    def seen(self, y: Tensor) -> Tensor:
        """The measurement is an image."""
        return y
