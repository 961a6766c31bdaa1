"""3x3 convolutions that move with time, each with its tangent: the layers of flows on images."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 3


class TimeConv(nn.Module):
    """y = W(t) * x + b(t), a 3x3 convolution padded with zeros to the size of x.

    A subclass says what W(t) and b(t) are, and may add what depends on the place.

    Args:
        n_in: channels of x.
        n_out: channels of y.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        convolution = nn.Conv2d(n_in, n_out, SIDE)
        self.weight = convolution.weight
        self.bias = convolution.bias

    def kernel(self, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """W(t) [n_out, n_in, 3, 3] and b(t) [n_out] for a scalar tensor t."""
        raise NotImplementedError

    def add_drift(self, t: Tensor, y: Tensor) -> Tensor:
        """y with what the time adds besides b(t), in y's own memory."""
        return y

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """y of shape [B, n_out, H, W] for x of shape [B, n_in, H, W]."""
        weight, bias = self.kernel(t)
        return self.add_drift(t, _convolved(x, weight, bias))

    def tangent(self, t: Tensor, x: Tensor, dx: Tensor) -> tuple[Tensor, Tensor]:
        """y and dy = W(t) * dx; dx may have leading dimensions that x lacks."""
        weight, bias = self.kernel(t)
        dy = _convolved(dx.flatten(0, -4), weight).unflatten(0, dx.shape[:-3])
        return self.add_drift(t, _convolved(x, weight, bias)), dy


class PlainConv(TimeConv):
    """y = W * x + b, whatever the time."""

    def kernel(self, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias


class ConcatConv(TimeConv):
    """y = W * (x, t) + b: the time as one more channel (FFJORD's "concat").

    Zeros surround the channel of the time too, so that what it adds is less along the border.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in + 1, n_out)
        # Apart, no copy of x with one more channel is made, nor kept for the backward pass.
        drift, weight = self.weight.detach().split([1, n_in], dim=1)
        self.weight, self.drift = nn.Parameter(weight.clone()), nn.Parameter(drift.clone())

    def kernel(self, t: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.weight, self.bias

    def add_drift(self, t: Tensor, y: Tensor) -> Tensor:
        return y.add_(_convolved(t.expand(1, 1, *y.shape[-2:]), self.drift))


class ConcatSquashConv(TimeConv):
    """y = (W * x + b) sigmoid(w_g t + b_g) + w_b t, gate and drift of every channel of y.

    Grathwohl et al. 2019 (FFJORD, arXiv:1810.01367).
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.drift, self.gate_slope, self.gate_bias = (
            nn.Parameter(torch.empty(n_out).uniform_(-1, 1)) for _ in range(3)
        )

    def kernel(self, t: Tensor) -> tuple[Tensor, Tensor | None]:
        gate = torch.sigmoid(self.gate_slope * t + self.gate_bias)
        assert self.bias is not None
        return self.weight * gate.view(-1, 1, 1, 1), self.bias * gate + self.drift * t


def _convolved(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.conv2d(x, weight, bias, padding=SIDE // 2)


CONV_LAYERS: dict[str, type[TimeConv]] = {
    "plain": PlainConv,
    "concat": ConcatConv,
    "concatsquash": ConcatSquashConv,
}
