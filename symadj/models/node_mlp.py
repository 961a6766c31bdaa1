"""A plain MLP as a vector field."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from symadj.models.energy import orthogonal_mlp


class NodeMLP(nn.Module):
    """du/dt = W tanh(... tanh(W_1 u + b_1) ...) + b, orthogonal weights and zero biases.

    Args:
        dim: entries of a state.
        hidden: widths of the hidden layers.

    Raises:
        InputError: no hidden layer, or a width below 1.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (200, 200)) -> None:
        super().__init__()
        self.net = orthogonal_mlp(dim, hidden, dim, last_bias=True)

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        """du/dt of u [B, dim]; the time does not matter."""
        return self.net(u)
