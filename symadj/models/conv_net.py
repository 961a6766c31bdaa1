"""The network of a flow on images: time-dependent convolutions with activations between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from symadj.errors import InputError, suggest
from symadj.models.conv_layers import CONV_LAYERS, TimeConv
from symadj.models.layers import ACTIVATIONS
from symadj.ranges import require


class ConvNet(nn.Module):
    """f(t, x) = C_L(t) s(... s(C_1(t) x)): FFJORD's network on images, of one size throughout.

    Args:
        channels: of x and of f.
        hidden: channels of every hidden layer.
        activation: one of `symadj.models.layers.ACTIVATIONS`.
        layer: one of `symadj.models.conv_layers.CONV_LAYERS`.

    Raises:
        InputError: an unknown name, or a number of channels below 1.
    """

    def __init__(
        self,
        channels: int,
        hidden: Sequence[int] = (64, 64, 64),
        activation: str = "softplus",
        layer: str = "concat",
    ) -> None:
        super().__init__()
        if layer not in CONV_LAYERS:
            raise InputError(f"unknown layer={layer!r}.{suggest(layer, CONV_LAYERS)}")
        if activation not in ACTIVATIONS:
            raise InputError(
                f"unknown activation={activation!r}.{suggest(activation, ACTIVATIONS)}"
            )
        require("model", hidden=list(hidden))
        make = CONV_LAYERS[layer]
        widths = [channels, *hidden, channels]
        self.layers = nn.ModuleList(make(i, o) for i, o in pairwise(widths))
        self.activation = ACTIVATIONS[activation]

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """f(t, x), of x's shape [B, channels, H, W]."""
        first, *others = self._stack()
        x = first(t, x)
        for layer in others:
            x = layer(t, self.activation.value(x))
        return x

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, x) and (df/dx) dx in one forward pass.

        Args:
            t: scalar.
            x: [B, channels, H, W].
            dx: of x's shape, or with leading dimensions for many tangents at each image;
                [K, 1, channels, H, W] takes the same K tangents at all images.

        Returns:
            [B, channels, H, W] and [..., B, channels, H, W].
        """
        first, *others = self._stack()
        x, dx = first.tangent(t, x, dx)
        for layer in others:
            x, dx = self.activation.tangent(x, dx)
            x, dx = layer.tangent(t, x, dx)
        return x, dx

    def _stack(self) -> list[TimeConv]:
        return cast("list[TimeConv]", list(self.layers))
