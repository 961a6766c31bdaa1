"""Classifiers of points and of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from symadj.errors import InputError
from symadj.ranges import require


class ClassifierMLP(nn.Module):
    """Logits of the classes of a point: linear layers with SiLU between them.

    Args:
        dim: entries of a point.
        classes: of the data.
        hidden: widths of the hidden layers.

    Raises:
        InputError: data without classes, or a number out of its range.
    """

    def __init__(self, dim: int, classes: int = 0, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        require("model", dim=dim, hidden=list(hidden))
        _check_classes(classes)
        widths = [dim, *hidden]
        layers = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of points [B, dim]."""
        return self.layers(x)


class ClassifierConv(nn.Module):
    """Logits of the classes of an image: two 3x3 convolutions at every resolution, then one layer.

    Every convolution is followed by a group norm and SiLU; sides are halved (rounded up) from one
    resolution to the next, and the last one is averaged over its places.

    Args:
        image_shape: [height, width].
        classes: of the data.
        channels: at every resolution.

    Raises:
        InputError: data without images or without classes, or a number out of its range.
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None,
        classes: int = 0,
        channels: Sequence[int] = (16, 32, 64),
    ) -> None:
        super().__init__()
        if image_shape is None:
            raise InputError(
                "the data hold no images of which every pixel is an entry, and a convolution needs "
                "them. Take model=classifier_mlp."
            )
        require("model", image_shape=list(image_shape), channels=list(channels))
        _check_classes(classes)
        self.image_shape = tuple(image_shape)
        layers: list[nn.Module] = []
        for number, (before, width) in enumerate(pairwise([1, *channels])):
            layers += _convolution(before, width, stride=2 if number else 1)
            layers += _convolution(width, width, stride=1)
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.last = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [B, classes] of images [B, height * width]."""
        return self.last(self.layers(x.reshape(len(x), 1, *self.image_shape)))


def _convolution(before: int, width: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, width, 3, stride=stride, padding=1)
    return [convolution, nn.GroupNorm(1, width), nn.SiLU()]


def _check_classes(classes: int) -> None:
    if not classes:
        raise InputError(
            "the data have no classes, and a classifier needs them. Take data=digits or "
            "data=mnist5k."
        )
    require("model", classes=classes)
