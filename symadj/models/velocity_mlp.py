"""A velocity field on vectors: a residual network conditioned on time and class."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from symadj.models.velocity import FiLM, Velocity
from symadj.ranges import require


class VelocityMLP(Velocity):
    """A stack of residual blocks between two linear layers.

        h_0 = W_in x,   h_k = h_{k-1} + W2 s(FiLM(W1 s(n(h_{k-1})), c)),   v = W_out s(n(h_K)),

    where s is SiLU, n a layer norm and c the condition of time and class.

    Args:
        dim: entries of x.
        classes: of the data; 0 or None: unconditional.
        width: entries of h and of c.
        blocks: K.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self, dim: int, classes: int | None = None, width: int = 256, blocks: int = 3
    ) -> None:
        require("model", dim=dim, width=width, blocks=blocks)
        super().__init__((dim,), classes, width)
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def velocity(self, x: Tensor, condition: Tensor) -> Tensor:
        """As `Velocity.velocity`."""
        h = self.first(x)
        for block in self.blocks:
            h = block(h, condition)
        return self.last(F.silu(self.norm(h)))


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width, width)
        self.film = FiLM(width, width)
        self.last = nn.Linear(width, width)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        a = self.film(self.first(F.silu(self.norm(h))), condition)
        return h + self.last(F.silu(a))
