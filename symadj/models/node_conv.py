"""A plain convolutional field on a grid, which knows of no energy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from symadj.models.energy import orthogonal_mlp
from symadj.models.energy_conv import neighbourhoods, reach_of


class NodeConv(nn.Module):
    """du_i/dt = g(u_{i-r}, ..., u_{i+r}) on a periodic grid, the same network g at every point.

    A convolution of `kernel` points, tanh, convolutions of one point with tanh, and a last one with
    bias: the layers of `EnergyConv` without its sum (Matsubara et al. 2020, arXiv:1905.08604).

    Args:
        hidden: channels of the hidden layers.
        kernel: points that the first layer sees, odd.

    Raises:
        InputError: a kernel that is not odd, or a width below 1.
    """

    def __init__(self, hidden: Sequence[int] = (200, 200), kernel: int = 3) -> None:
        super().__init__()
        self.reach = reach_of(kernel)
        self.net = orthogonal_mlp(kernel, hidden, 1, last_bias=True)

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        """du/dt of u [B, points]; the time does not matter."""
        return self.net(neighbourhoods(u, self.reach)).squeeze(-1)
