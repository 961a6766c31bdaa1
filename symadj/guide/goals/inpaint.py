"""Some pixels are given, the others are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symadj.errors import InputError, suggest
from symadj.files import open_file
from symadj.guide.goals.base import Measurement
from symadj.ranges import require

MASKS = ("upper", "left", "frame", "random")


class Inpaint(Measurement):
    """The known pixels of the reference images are given: A picks them.

    Args:
        mask: which pixels are known: "upper" or "left" (that half), "frame" (all but a square in
            the middle, of half the height and width), "random" (a fraction of them, the same in all
            images), or a file .npy of booleans [height, width], true where known; a tensor of that
            kind in Python.
        fraction: of pixels that are known, of mask="random".
        noise: deviation of the noise on them, of pixel values from 0 to 1.
        seed: of the random mask and of the noise.

    Raises:
        InputError: an unknown mask, or a number out of its range.
    """

    name = "inpaint"

    def __init__(
        self,
        mask: str | Tensor = "upper",
        fraction: float = 0.25,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        require("goal", fraction=fraction, noise=noise, seed=seed)
        super().__init__(noise, seed)
        if isinstance(mask, str) and mask not in MASKS and not mask.endswith(".npy"):
            raise InputError(
                f"unknown mask={mask!r}.{suggest(mask, MASKS)} Or a file of booleans [height, "
                "width] whose name ends in .npy."
            )
        self.mask, self.fraction = mask, fraction
        self._known = torch.empty(0, dtype=torch.bool)
        self.description = "inpaint: the known pixels"

    def check(self, height: int, width: int) -> None:
        """Makes the mask."""
        known = self.mask if isinstance(self.mask, Tensor) else self._made(height, width)
        if known.shape != (height, width) or known.dtype != torch.bool:
            raise InputError(
                f"mask: {known.dtype} of shape {tuple(known.shape)}; these images need booleans of "
                f"shape ({height}, {width}), true where a pixel is known."
            )
        if not known.any():
            raise InputError("mask: no pixel is known, so there is nothing to guide by.")
        self._known = known.to(self.reference.device)
        self.description = f"inpaint: {int(known.sum())} of {known.numel()} pixels are known"

    def measure(self, images: Tensor) -> Tensor:
        """The known pixels [B, known]."""
        return images[:, self._known]

    def seen(self, y: Tensor) -> Tensor:
        """The known pixels in their places."""
        images = torch.full((len(y), *self._known.shape), torch.nan, dtype=y.dtype, device=y.device)
        images[:, self._known] = y
        return images

    def _made(self, height: int, width: int) -> Tensor:
        assert isinstance(self.mask, str)
        if self.mask.endswith(".npy"):
            return torch.from_numpy(_read(Path(self.mask)))
        if self.mask == "random":
            generator = torch.Generator().manual_seed(self.seed)
            order = torch.randperm(height * width, generator=generator)
            count = max(1, round(self.fraction * height * width))
            return (order < count).reshape(height, width)
        known = torch.zeros(height, width, dtype=torch.bool)
        if self.mask == "upper":
            known[: height // 2] = True
        elif self.mask == "left":
            known[:, : width // 2] = True
        else:
            rows, columns = height // 4, width // 4
            known[:] = True
            known[rows : height - rows, columns : width - columns] = False
        return known


def _read(path: Path) -> Any:
    """The array of a file.

    Raises:
        InputError: it is none.
    """
    try:
        with open_file(path, "rb") as file:
            return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"mask={path} cannot be read as an array ({error}).") from error
