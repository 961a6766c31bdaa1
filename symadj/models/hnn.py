"""Hamiltonian neural networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from symadj.errors import InputError
from symadj.models.energy import EnergyMLP, energy_gradient
from symadj.ode.gradients import Sums, own_method


class HamiltonianField(nn.Module):
    """dq/dt = dH/dp, dp/dt = -dH/dq for the state (q, p), halves of the last dimension.

    Args:
        energy: H, a module of the states [B, dim]; one with `gradient` is used through it, any
            other through autograd.
    """

    def __init__(self, energy: nn.Module) -> None:
        super().__init__()
        self.energy = energy

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        """du/dt of u [B, dim]; the time does not matter."""
        of_q, of_p = energy_gradient(self.energy, u).chunk(2, dim=-1)
        return torch.cat([of_p, -of_q], dim=-1)

    def pull_back(self, t: Tensor, u: Tensor, cotangent: Tensor, sums: Sums) -> Tensor | None:
        """The vector-Jacobian product by the energy's own `pull_gradient`."""
        pull = cast("Callable[..., Tensor | None]", self.energy.pull_gradient)
        of_q, of_p = cotangent.chunk(2, dim=-1)
        return pull(u, torch.cat([-of_p, of_q], dim=-1), sums)

    @property
    def differentiates_itself(self) -> bool:
        """Whether the energy does."""
        return own_method(self.energy, "pull_gradient", "gradient") is not None


class HNN(HamiltonianField):
    """A Hamiltonian neural network (Greydanus et al. 2019, arXiv:1906.01563): H is an MLP.

    Orthogonal weights and zero biases, the last layer without.

    Args:
        dim: entries of a state, even.
        hidden: widths of the hidden layers.

    Raises:
        InputError: an odd dim, or a width below 1.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (200, 200)) -> None:
        if dim < 2 or dim % 2:
            raise InputError(
                f"dim={dim}: a Hamiltonian system has as many momenta as positions, so its state "
                "has an even number of entries. Take model=node_mlp."
            )
        super().__init__(EnergyMLP(dim, hidden))
