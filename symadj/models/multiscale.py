"""Multiscale flows of images: convolutional neural ODEs at one resolution after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.calls.integrator import Integrator
from symadj.errors import InputError
from symadj.models.cnf import ContinuousFlow, standard_normal_logprob
from symadj.models.conv_net import ConvNet
from symadj.ranges import require

FACTOR = 2
SMALLEST = 4


class MultiscaleCNF(nn.Module):
    """FFJORD's flow of images: `ContinuousFlow`s of `ConvNet`s at halved and halved resolutions.

    Every scale but the last carries its images [C, H, W] through a stack of components, squeezes
    them (blocks of 2x2 pixels become channels, [4C, H/2, W/2]), carries them through another stack,
    hands the first half of the channels to the next scale and factors the other half out, which is
    part of the normal variable as it is. The last scale is one stack. Squeezing only moves numbers,
    so that log p(x) = log N(z) - delta_logp with the sum over all solves.

    Dinh et al. 2017 (Real NVP, arXiv:1605.08803, section 3.6); Grathwohl et al. 2019 (FFJORD,
    arXiv:1810.01367).

    Args:
        image_shape: (height, width) of the grey images whose pixels the data points are.
        scales: resolutions; None: as many as there are with sides of at least 4 pixels.
        hidden: channels of the hidden layers.
        components: neural ODEs in every stack, each with weights of its own;
            M = components (2 scales - 1) altogether.
        activation: one of `symadj.models.layers.ACTIVATIONS`.
        layer: one of `symadj.models.conv_layers.CONV_LAYERS`.
        trace: as in `ContinuousFlow`.
        noise: as in `ContinuousFlow`.
        T: the time that every component is integrated over.

    Raises:
        InputError: data without images, sides that cannot be halved so often, an unknown name, or a
            number out of its range.
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None,
        scales: int | None = None,
        hidden: Sequence[int] = (64, 64, 64),
        components: int = 1,
        activation: str = "softplus",
        layer: str = "concat",
        trace: str = "hutchinson",
        noise: str = "rademacher",
        T: float = 1.0,
    ) -> None:
        super().__init__()
        require("model", components=components)
        self.height, self.width = _checked_shape(image_shape)
        self.scales = _checked_scales(scales, self.height, self.width)

        def stack(channels: int) -> ContinuousFlow:
            networks = [ConvNet(channels, hidden, activation, layer) for _ in range(components)]
            return ContinuousFlow(networks, trace, noise, T)

        channels = [FACTOR**i for i in range(self.scales)]
        self.flows = nn.ModuleList(stack(c) for c in channels)
        self.squeezed = nn.ModuleList(stack(FACTOR**2 * c) for c in channels[:-1])

    def forward(
        self,
        x: Tensor,
        integrator: Integrator,
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Carries data to the normal variable.

        Args:
            x: [B, height * width], the images row by row.
            integrator: solver and gradient method.
            exact: whether the trace is exact, whatever the model's `trace`.
            generator: of the noise; None: torch's global one.

        Returns:
            z [B, height * width], what was factored out first coming first, and delta_logp [B],
            with log p(x) = log N(z; 0, I) - delta_logp.

        Raises:
            InputError: x is of another width.
        """
        z, (delta_logp,) = self.carry(x, integrator, (), exact, generator)
        return z, delta_logp

    def carry(
        self,
        x: Tensor,
        integrator: Integrator,
        costs: Sequence[str] = (),
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """`forward`, and what the way has cost, as in `ContinuousFlow.carry`: sums over all solves.

        Raises:
            InputError: x is of another width.
        """
        first, *flows = cast("list[ContinuousFlow]", list(self.flows))
        stacks = zip(cast("list[ContinuousFlow]", list(self.squeezed)), flows, strict=True)
        y, totals = first.carry(self._as_images(x), integrator, costs, exact, generator)
        parts = []
        for squeezed, flow in stacks:
            y = F.pixel_unshuffle(y, FACTOR)
            y, changes = squeezed.carry(y, integrator, costs, exact, generator)
            totals = _sums(totals, changes)
            y, out = y.chunk(2, dim=1)
            parts.append(out)
            y, changes = flow.carry(y, integrator, costs, exact, generator)
            totals = _sums(totals, changes)
        return torch.cat([part.flatten(1) for part in (*parts, y)], dim=1), totals

    def log_prob(
        self,
        x: Tensor,
        integrator: Integrator,
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """log p(x) in nats for every image of x [B, height * width]; arguments as in `forward`."""
        z, delta_logp = self(x, integrator, exact, generator)
        return standard_normal_logprob(z) - delta_logp

    def inverse(self, z: Tensor, integrator: Integrator) -> Tensor:
        """Carries the normal variable z [B, height * width] back to data; no trace is computed."""
        *parts, y = self._parts(z)
        first, *flows = cast("list[ContinuousFlow]", list(self.flows))
        stacks = zip(cast("list[ContinuousFlow]", list(self.squeezed)), flows, parts, strict=True)
        for squeezed, flow, out in reversed(list(stacks)):
            y = torch.cat([flow.inverse(y, integrator), out], dim=1)
            y = F.pixel_shuffle(squeezed.inverse(y, integrator), FACTOR)
        return first.inverse(y, integrator).flatten(1)

    def _as_images(self, x: Tensor) -> Tensor:
        if x.shape[1:] != (self.height * self.width,):
            raise InputError(
                f"data of shape {tuple(x.shape)} for images of {self.height}x{self.width} pixels; "
                f"[B, {self.height * self.width}] is needed."
            )
        return x.reshape(-1, 1, self.height, self.width)

    def _parts(self, z: Tensor) -> list[Tensor]:
        """z cut into what each scale factored out, and what the last one gave."""
        shapes = [
            (FACTOR**i, self.height // FACTOR**i, self.width // FACTOR**i)
            for i in (*range(1, self.scales), self.scales - 1)
        ]
        parts = z.split([c * h * w for c, h, w in shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]


def _sums(totals: Sequence[Tensor], changes: Sequence[Tensor]) -> list[Tensor]:
    return [total + change for total, change in zip(totals, changes, strict=True)]


def _checked_shape(image_shape: Sequence[int] | None) -> tuple[int, int]:
    if image_shape is None:
        raise InputError(
            "the data hold no images of which every pixel is an entry, and a flow of images needs "
            "them. Take data=mnist5k or data=digits, or model=cnf, which needs vectors only."
        )
    require("model", image_shape=list(image_shape))
    if len(image_shape) != 2:
        raise InputError(f"image_shape={list(image_shape)}; it must be [height, width].")
    height, width = image_shape
    return height, width


def _checked_scales(scales: int | None, height: int, width: int) -> int:
    most = sensible = 1
    while height % FACTOR**most == width % FACTOR**most == 0:
        if min(height, width) >= SMALLEST * FACTOR**most:
            sensible += 1
        most += 1
    if scales is None:
        return sensible
    if not 1 <= scales <= most:
        raise InputError(
            f"scales={scales} for images of {height}x{width} pixels, whose sides are halved from "
            f"one scale to the next; allowed: 1 to {most}, or null for {sensible}."
        )
    return scales
