"""What a goal is, and what it is told of the samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from symadj.errors import InputError


def _no_run(path: str, setting: str) -> nn.Module:
    raise InputError(f"{setting}={path}: runs are loaded by symadj-guide; give a module instead.")


@dataclass(frozen=True)
class Subject:
    """The samples that are guided, as a goal sees them.

    Attributes:
        dim: entries of a sample; samples are vectors [B, dim].
        references: [n, dim], what the samples may be compared with, one for each.
        name: of the data.
        classes: of the data; 0: they have none.
        images: samples [B, dim] -> their pixels [B, height, width], 0 to 1 in the data and not
            clipped, differentiable; None: the samples are no images.
        classifier: (directory of a run, the setting that names it) -> its trained classifier, which
            gives logits [B, classes] of samples [B, dim].
    """

    dim: int
    references: Tensor
    name: str = "data"
    classes: int = 0
    images: Callable[[Tensor], Tensor] | None = None
    classifier: Callable[[str, str], nn.Module] = _no_run


class Goal(ABC):
    """A loss of every sample, x [B, dim] -> [B], which is small where the sample is as wanted.

    Attributes:
        description: what is wanted, in a few words.
    """

    description: str = ""

    def bind(self, subject: Subject) -> None:  # noqa: B027  what fits everything has no need of it
        """Takes what it needs of the samples, before any of them is made.

        Raises:
            InputError: the goal does not fit them.
        """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """The losses [B] of samples [B, dim], differentiable."""

    def metrics(self, x: Tensor) -> dict[str, Tensor]:
        """How well samples have come to the goal, by name, [B] each."""
        return {}

    def target(self) -> Tensor | None:
        """What is given, as images [n, height, width], a NaN where nothing is; None: no images."""
        return None

    def truth(self) -> Tensor | None:
        """The images that it was made of, [n, height, width]; None: of none."""
        return None


class Measurement(Goal):
    """The samples, as images, are to have the measurement of reference images.

        loss(x) = |A(image(x)) - y|^2,    y = A(image(reference)) + noise e,    e ~ N(0, I),

    the sum of squares over all measured pixels, whose values are 0 to 1.

    Args:
        noise: deviation of the measurement's noise.
        seed: of the noise.

    Attributes:
        y: the measurement, as `measure` gives it; there once the goal is bound.
    """

    name: str = "measurement"

    def __init__(self, noise: float = 0.0, seed: int = 0) -> None:
        self.noise, self.seed = noise, seed
        self.y = self.reference = torch.empty(0)

    @abstractmethod
    def measure(self, images: Tensor) -> Tensor:
        """A, of images [B, height, width], differentiable: [B, ...]."""

    @abstractmethod
    def seen(self, y: Tensor) -> Tensor:
        """A measurement as images [B, height, width]; a NaN where it says nothing."""

    def check(self, height: int, width: int) -> None:
        """Raises `InputError` where images of this size cannot be measured so."""

    def bind(self, subject: Subject) -> None:
        """`Goal.bind`."""
        if subject.images is None:
            raise InputError(
                f"goal={self.name} is for images, and data={subject.name} are none. Take "
                "goal=target or goal=function, or a run on images (data=digits, data=mnist5k)."
            )
        self._images = subject.images
        with torch.no_grad():
            self.reference = subject.images(subject.references)
            self.check(*self.reference.shape[1:])
            y = self.measure(self.reference)
            generator = torch.Generator(device=y.device).manual_seed(self.seed)
            e = torch.randn(y.shape, generator=generator, dtype=y.dtype, device=y.device)
            self.y = y + self.noise * e

    def __call__(self, x: Tensor) -> Tensor:
        """`Goal.__call__`; as many samples as there are references."""
        return (self.measure(self._images(x)) - self.y).square().flatten(1).sum(1)

    def metrics(self, x: Tensor) -> dict[str, Tensor]:
        """ "psnr", in dB against the reference over all its pixels: 10 log10(1 / mean square)."""
        error = self._images(x).clamp(0, 1) - self.reference.clamp(0, 1)
        return {"psnr": -10 * error.square().flatten(1).mean(1).clamp_min(1e-12).log10()}

    def target(self) -> Tensor | None:
        """`Goal.target`: what was measured."""
        return self.seen(self.y)

    def truth(self) -> Tensor | None:
        """`Goal.truth`: the references."""
        return self.reference
