"""The network of a flow on vectors: time-dependent layers with activations between them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.errors import InputError, suggest
from symadj.models.layers import ACTIVATIONS, LAYERS, TimeAffine
from symadj.models.vjp.linearised import linearised_layers
from symadj.models.vjp.tangent_stack import (
    KERNELS,
    Pair,
    applies,
    pull_tangent_stack,
    tangent_stack,
)
from symadj.ode.gradients import Sums
from symadj.ranges import require


class MLP(nn.Module):
    """f(t, x) = A_L(t) s(... s(A_1(t) x)): FFJORD's network, no activation after the last layer.

    Args:
        dim: entries of x and of f.
        hidden: width of every hidden layer.
        activation: one of `symadj.models.layers.ACTIVATIONS`.
        layer: one of `symadj.models.layers.LAYERS`.

    Raises:
        InputError: an unknown name, or a width below 1.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64, 64),
        activation: str = "tanh",
        layer: str = "concatsquash",
    ) -> None:
        super().__init__()
        if layer not in LAYERS:
            raise InputError(f"unknown layer={layer!r}.{suggest(layer, LAYERS)}")
        if activation not in ACTIVATIONS:
            raise InputError(
                f"unknown activation={activation!r}.{suggest(activation, ACTIVATIONS)}"
            )
        require("model", dim=dim, hidden=list(hidden))
        widths = [dim, *hidden, dim]
        make = LAYERS[layer]
        self.layers = nn.ModuleList(make(i, o) for i, o in pairwise(widths))
        self.activation = ACTIVATIONS[activation]
        self.kernel = KERNELS.get(activation)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """f(t, x), of x's shape [B, dim]."""
        first, *others = self._stack()
        x = first(t, x)
        for layer in others:
            x = layer(t, self.activation.value(x))
        return x

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """f(t, x) and (df/dx) dx in one forward pass.

        Args:
            t: scalar.
            x: [B, dim].
            dx: [B, dim], or with leading dimensions for many tangents at each point; [K, 1, dim]
                takes the same K tangents at all points.

        Returns:
            [B, dim] and [..., B, dim].
        """
        if self.kernel is None or not applies(x, dx):
            return self._written_out(x, dx, *self._maps(t))
        maps = (
            self._maps(t) if torch.is_grad_enabled() else linearised_layers(self._stack(), t).maps
        )
        return tangent_stack(self.kernel, self._written_out, x, dx, *maps)

    def pull_tangent(
        self, t: Tensor, x: Tensor, dx: Tensor, cotangents: Pair, sums: Sums
    ) -> Tensor | None:
        """The vector-Jacobian product of `tangent`, by hand, without its value.

        Args:
            t: scalar.
            x: [B, dim].
            dx: [B, dim], not differentiated.
            cotangents: of both values, [B, dim] each.
            sums: the running sums of the parameters' gradients.

        Returns:
            The cotangent of x; None where `tangent` is not taken by hand either.
        """
        if self.kernel is None or not applies(x, dx):
            return None
        layers = linearised_layers(self._stack(), t)
        of_maps = [torch.zeros_like(m, memory_format=torch.contiguous_format) for m in layers.maps]
        of_x = pull_tangent_stack(self.kernel, x, dx, layers.maps, cotangents, of_maps)
        layers.pull(of_maps, sums)
        return of_x

    @property
    def differentiates_itself(self) -> bool:
        """Whether `pull_tangent` knows the activation."""
        return self.kernel is not None

    def _maps(self, t: Tensor) -> list[Tensor]:
        """W_1, b_1, ..., W_L, b_L at one time."""
        return [tensor for layer in self._stack() for tensor in layer.affine(t)]

    def _written_out(self, x: Tensor, dx: Tensor, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """`tangent` for W_1, b_1, ..., W_L, b_L at one time."""
        for i in range(0, len(maps), 2):
            if i > 0:
                x, dx = self.activation.tangent(x, dx)
            x, dx = F.linear(x, maps[i], maps[i + 1]), F.linear(dx, maps[i])
        return x, dx

    def _stack(self) -> list[TimeAffine]:
        return cast("list[TimeAffine]", list(self.layers))
