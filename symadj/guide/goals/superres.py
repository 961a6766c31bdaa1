"""A coarse image is given, a fine one is wanted."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from symadj.errors import InputError
from symadj.guide.goals.base import Measurement
from symadj.ranges import require


class SuperRes(Measurement):
    """Coarse images are given: A takes the mean of every square of factor x factor pixels.

    Args:
        factor: of the two sizes.
        noise: deviation of the noise on coarse pixels, of values from 0 to 1.
        seed: of the noise.

    Raises:
        InputError: a number out of its range.
    """

    name = "superres"

    def __init__(self, factor: int = 2, noise: float = 0.0, seed: int = 0) -> None:
        require("goal", factor=factor, noise=noise, seed=seed)
        super().__init__(noise, seed)
        self.factor = factor
        self.description = f"superres: means of {factor}x{factor} pixels"

    def check(self, height: int, width: int) -> None:
        """The factor must divide both sides."""
        if height % self.factor or width % self.factor:
            raise InputError(
                f"factor={self.factor} does not divide images of {height}x{width} pixels; take one "
                "that divides both sides."
            )

    def measure(self, images: Tensor) -> Tensor:
        """Means [B, height / factor, width / factor]."""
        return F.avg_pool2d(images.unsqueeze(1), self.factor).squeeze(1)

    def seen(self, y: Tensor) -> Tensor:
        """Coarse pixels as squares of the fine size."""
        return y.repeat_interleave(self.factor, 1).repeat_interleave(self.factor, 2)
