"""The right-hand sides f(t, y), in torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Field(nn.Module):
    """A right-hand side whose weights are multiplied once, before it is used.

    The dynamics of freshly initialised weights is so slow that a few steps solve it; larger weights
    stand for those of a training. Biases and what a normalisation scales stay as they are.
    """

    def scale(self, gain: float) -> None:
        """Multiplies the weights of linear and convolutional layers."""
        with torch.no_grad():
            for layer in self.modules():
                if isinstance(layer, nn.Linear | nn.Conv2d):
                    layer.weight.mul_(gain)


class Flow(Field):
    """(f, -e^T (df/dz) e) of the state (z [B, d], logp [B]): Hutchinson's estimate of the trace.

    Args:
        dim: d.
        hidden: widths of the hidden layers.
        gain: of the weights.

    Attributes:
        noise: e [B, d], set before a solve and kept throughout it.
    """

    def __init__(self, dim: int, hidden: Sequence[int], gain: float = 1.0) -> None:
        super().__init__()
        self.net = mlp([dim + 1, *hidden, dim])
        self.noise = torch.zeros(0)
        self.scale(gain)

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            z = state[0].requires_grad_(True)
            f = self.net(torch.cat([z, t * torch.ones_like(z[:, :1])], dim=1))
            (pulled,) = torch.autograd.grad(f, z, self.noise, create_graph=True)
        return f, -(pulled * self.noise).sum(1)


class Convolutional(Field):
    """Two 3x3 convolutions with tanh and a group normalisation between them, time as a channel.

    Args:
        channels: of the state [B, channels, height, width].
        groups: of the normalisation.
        gain: of the weights.
    """

    def __init__(self, channels: int, groups: int = 8, gain: float = 1.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.norm = nn.GroupNorm(groups, channels)
        self.conv2 = nn.Conv2d(channels + 1, channels, 3, padding=1)
        self.scale(gain)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        time = t * torch.ones_like(y[:, :1])
        hidden = self.norm(torch.tanh(self.conv1(torch.cat([y, time], dim=1))))
        return self.conv2(torch.cat([hidden, time], dim=1))


class Hamiltonian(Field):
    """(dH/dp, -dH/dq) of the state x = (q, p) [B, dim]; H is a network.

    Args:
        dim: entries of the state, an even number.
        hidden: widths of the hidden layers.
        gain: of the weights.
    """

    def __init__(self, dim: int, hidden: Sequence[int], gain: float = 1.0) -> None:
        super().__init__()
        self.energy = mlp([dim, *hidden, 1])
        self.scale(gain)

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        of_q, of_p = gradient.chunk(2, dim=1)
        return torch.cat([of_p, -of_q], dim=1)


class Attention(Field):
    """What a transformer's block adds to its input y [B, length, width].

    Args:
        width: of the tokens.
        heads: of the attention.
        gain: of the weights.
    """

    def __init__(self, width: int, heads: int, gain: float = 1.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.scale(gain)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        attended = self._attend(self.norm1(y))
        return attended + self.mlp(self.norm2(y + attended))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Latent(Field):
    """The small network of a latent ODE, which does not depend on the time.

    Args:
        dim: entries of the state [B, dim].
        hidden: widths of the hidden layers.
        gain: of the weights.
    """

    def __init__(self, dim: int, hidden: Sequence[int], gain: float = 1.0) -> None:
        super().__init__()
        self.net = mlp([dim, *hidden, dim])
        self.scale(gain)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.net(y)


class Stiff(Field):
    """y A + net(y) of states y [B, dim] that do not act on each other.

    A is decay at rates from 1 to `fastest` in equal ratios, along axes that are rotated at random.

    Args:
        dim: entries of a state.
        hidden: widths of the hidden layers.
        fastest: rate.
        gain: of the network's weights.
    """

    def __init__(
        self, dim: int, hidden: Sequence[int], fastest: float = 1e4, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.net = mlp([dim, *hidden, dim])
        axes, _ = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))
        rates = fastest ** torch.linspace(0, 1, dim, dtype=torch.float64)
        self.decay = nn.Parameter((-(axes * rates) @ axes.T).to(self.net[0].weight.dtype))
        self.scale(gain)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y @ self.decay + self.net(y)


def mlp(widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with tanh between them."""
    layers: list[nn.Module] = []
    for n, m in pairwise(widths):
        layers += [nn.Linear(n, m), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
