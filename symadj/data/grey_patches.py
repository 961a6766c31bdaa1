"""Patches of 8x8 grey pixels as vectors of 63 real numbers, made as those of BSDS300.

A patch of levels v in 0..255 becomes u = (v + U) / 256 with U ~ U(0, 1); its mean is taken off, and
the last pixel is dropped, which the others then determine.

Source: Uria et al. 2013 (RNADE), section 5.2; Papamakarios et al. 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from symadj.errors import InputError

SIDE = 8
DIM = SIDE * SIDE - 1
BLOCK = 1 << 16


class PatchImages:
    """Shows vectors of 63 numbers as the patches they come from."""

    image_shape: tuple[int, int] | None = (SIDE, SIDE)

    def to_images(self, x: Tensor) -> Tensor:
        """Patches [n, 8, 8] for x [n, 63], clipped to [0, 1]."""
        return self.pixels(x).clamp(0, 1)

    def pixels(self, x: Tensor) -> Tensor:
        """Patches [n, 8, 8] around the middle grey 0.5.

        The last pixel makes the patch's mean 0; the mean that was taken off is not known.

        Args:
            x: [n, 63].
        """
        whole = F.pad(x, (0, 1)) - F.pad(x.sum(-1, keepdim=True), (DIM, 0))
        return (whole + 0.5).reshape(-1, SIDE, SIDE)


def read_grey(path: Path) -> NDArray[np.uint8]:
    """An image file's grey levels [height, width] (luma of ITU-R 601, 0.299 R + 0.587 G + 0.114 B).

    Raises:
        InputError: no image, or one smaller than a patch.
    """
    try:
        with Image.open(path) as image:
            levels = np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}).") from error
    if min(levels.shape) < SIDE:
        raise InputError(f"{path} is {levels.shape} pixels; at least {SIDE}x{SIDE} are needed.")
    return levels


def draw_blocks(
    images: Sequence[NDArray[np.uint8]], n: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """n vectors in blocks [k, 63], k <= 65,536; all positions in all images are equally likely.

    Args:
        images: grey levels [height, width], of any sizes.
        n: how many patches.
        rng: gives positions and noise, in this order, block by block.
    """
    for start in range(0, n, BLOCK):
        yield to_vectors(draw_levels(images, min(BLOCK, n - start), rng), rng)


def draw_levels(
    images: Sequence[NDArray[np.uint8]], n: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Levels [n, 64] of patches at positions drawn with replacement."""
    windows = [np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE)) for image in images]
    ends = np.cumsum([window.shape[0] * window.shape[1] for window in windows])
    positions = rng.integers(ends[-1], size=n)
    of_image = np.searchsorted(ends, positions, side="right")
    levels = np.empty((n, SIDE, SIDE), dtype=np.uint8)
    for i, window in enumerate(windows):
        chosen = of_image == i
        within = positions[chosen] - (ends[i - 1] if i else 0)
        levels[chosen] = window[within // window.shape[1], within % window.shape[1]]
    return levels.reshape(n, SIDE * SIDE)


def to_vectors(levels: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Levels [n, 64] as vectors [n, 63]: dequantised, without their mean and the last pixel."""
    u = (levels + rng.random(levels.shape)) / 256
    return (u - u.mean(axis=1, keepdims=True))[:, :-1]
