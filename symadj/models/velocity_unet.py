"""A velocity field on images: a small U-Net conditioned on time and class."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from symadj.errors import InputError
from symadj.models.velocity import FiLM, Velocity
from symadj.ranges import require

GROUPS = 8
"""Of the channels in a group norm, at most."""


class VelocityUNet(Velocity):
    """Residual blocks at one resolution after the other, down and up again.

    Every resolution has `blocks` residual blocks on the way down and as many on the way up, where
    the outputs of the way down are joined to the channels; sides are halved (rounded up) from one
    to the next. A block is h + C2 s(FiLM(n(C1 s(n(h))), c)) with 3x3 convolutions C, group norms n
    and s = SiLU; c is the condition of time and class. At the lowest resolution two more blocks
    stand, with self-attention between them on request. (Ronneberger et al. 2015, arXiv:1505.04597;
    Ho et al. 2020, arXiv:2006.11239.)

    Args:
        image_shape: [height, width] of grey images, or [channels, height, width].
        classes: of the data; 0 or None: unconditional.
        channels: at every resolution, the first one the images' own.
        blocks: residual blocks at a resolution, each way.
        attention: heads of the self-attention at the lowest resolution; 0: none.
        width: entries of c.

    Raises:
        InputError: data without images, more resolutions than the sides allow, heads that do not
            divide the channels, or a number out of its range.
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None,
        classes: int | None = None,
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        attention: int = 0,
        width: int = 128,
    ) -> None:
        shape = _checked_shape(image_shape)
        require("model", channels=list(channels), blocks=blocks, attention=attention, width=width)
        _check_resolutions(channels, shape)
        _check_heads(attention, channels[-1])
        super().__init__(shape, classes, width)

        def stack(n_in: int, n_out: int) -> nn.ModuleList:
            widths = [n_in, *[n_out] * blocks]
            return nn.ModuleList(_Block(i, o, width) for i, o in pairwise(widths))

        steps = list(pairwise(channels))
        self.first = nn.Conv2d(shape[0], channels[0], 3, padding=1)
        self.down = nn.ModuleList(stack(c, c) for c in channels[:-1])
        self.downsample = nn.ModuleList(nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in steps)
        lowest = channels[-1]
        self.middle = nn.ModuleList(_Block(lowest, lowest, width) for _ in range(2))
        self.attention = _Attention(lowest, attention) if attention else None
        self.upsample = nn.ModuleList(nn.Conv2d(o, i, 3, padding=1) for i, o in steps)
        self.up = nn.ModuleList(stack(2 * c, c) for c in channels[:-1])
        self.norm = _group_norm(channels[0])
        self.last = nn.Conv2d(channels[0], shape[0], 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def velocity(self, x: Tensor, condition: Tensor) -> Tensor:
        """As `Velocity.velocity`."""
        h, kept = self.first(x), []
        for blocks, downsample in zip(self.down, self.downsample, strict=True):
            h = _through(blocks, h, condition)
            kept.append(h)
            h = downsample(h)
        before, behind = self.middle
        h = before(h, condition)
        if self.attention is not None:
            h = self.attention(h)
        h = behind(h, condition)
        for blocks, upsample in reversed(list(zip(self.up, self.upsample, strict=True))):
            of_way_down = kept.pop()
            h = upsample(F.interpolate(h, size=of_way_down.shape[-2:]))
            h = _through(blocks, torch.cat([h, of_way_down], dim=1), condition)
        return self.last(F.silu(self.norm(h)))


class _Block(nn.Module):
    def __init__(self, n_in: int, n_out: int, condition: int) -> None:
        super().__init__()
        self.first_norm = _group_norm(n_in)
        self.first = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm = _group_norm(n_out)
        self.film = FiLM(condition, n_out)
        self.last = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        a = self.norm(self.first(F.silu(self.first_norm(h))))
        return self.skip(h) + self.last(F.silu(self.film(a, condition)))


class _Attention(nn.Module):
    """h + W softmax(q k^T / sqrt(d)) v over all places of an image."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = _group_norm(channels)
        self.queries = nn.Conv2d(channels, 3 * channels, 1)
        self.last = nn.Conv2d(channels, channels, 1)

    def forward(self, h: Tensor) -> Tensor:
        q, k, v = self.queries(self.norm(h)).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        # Written out: torch's fused attention has no second derivative, which the gradient of a
        # likelihood needs.
        weights = torch.softmax(q.mT @ k / q.shape[-2] ** 0.5, dim=-1)
        return h + self.last((v @ weights.mT).reshape(h.shape))


def _through(blocks: nn.Module, h: Tensor, condition: Tensor) -> Tensor:
    for block in blocks.children():
        h = block(h, condition)
    return h


def _group_norm(channels: int) -> nn.GroupNorm:
    groups = next(g for g in range(min(GROUPS, channels), 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


def _checked_shape(image_shape: Sequence[int] | None) -> tuple[int, int, int]:
    if image_shape is None:
        raise InputError(
            "the data hold no images of which every pixel is an entry, and a U-Net needs them. "
            "Take data=digits or data=mnist5k, or model=velocity_mlp, which needs vectors only."
        )
    require("model", image_shape=list(image_shape))
    if len(image_shape) not in (2, 3):
        raise InputError(
            f"image_shape={list(image_shape)}; it must be [height, width] or "
            "[channels, height, width]."
        )
    channels, height, width = (1, *image_shape)[-3:]
    return channels, height, width


def _check_resolutions(channels: Sequence[int], shape: tuple[int, int, int]) -> None:
    if not channels:
        raise InputError("channels=[]; a U-Net needs those of one resolution at least.")
    if min(shape[1:]) < 2 ** (len(channels) - 1):
        raise InputError(
            f"channels={list(channels)} name {len(channels)} resolutions, and images of "
            f"{shape[1]}x{shape[2]} pixels have {min(shape[1:]).bit_length()}."
        )


def _check_heads(heads: int, channels: int) -> None:
    if heads and channels % heads:
        raise InputError(
            f"attention={heads} heads do not divide the {channels} channels of the lowest "
            "resolution."
        )
