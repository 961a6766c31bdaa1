"""A field on a grid that follows the gradient of a learned energy: HNN++."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from symadj.errors import InputError, suggest
from symadj.lattice import STRUCTURES, TRANSPOSED
from symadj.models.energy import EnergyMLP, energy_gradient
from symadj.ode.gradients import Sums, own_method
from symadj.ranges import require


class GridEnergy(nn.Module):
    """H(u) = sum over the grid of e(u_{i-r}, ..., u_{i+r}) on a periodic grid.

    With e an `EnergyMLP` this is a convolution of `kernel` points, tanh, convolutions of one point
    with tanh, a last one without bias, and a sum.

    Args:
        hidden: channels of the hidden layers.
        kernel: points that e sees, odd.

    Raises:
        InputError: a kernel that is not odd, or a width below 1.
    """

    def __init__(self, hidden: Sequence[int] = (200, 200), kernel: int = 3) -> None:
        super().__init__()
        self.reach = reach_of(kernel)
        self.local = EnergyMLP(kernel, hidden)

    def forward(self, u: Tensor) -> Tensor:
        """H of every state u [..., points], shape [...]."""
        return self.local(neighbourhoods(u, self.reach)).sum(-1)

    def gradient(self, u: Tensor) -> Tensor:
        """dH/du, of u's shape, without autograd (see `EnergyMLP.gradient`)."""
        return self._gathered(self.local.gradient(neighbourhoods(u, self.reach)))

    def pull_gradient(self, u: Tensor, cotangent: Tensor, sums: Sums) -> Tensor | None:
        """The vector-Jacobian product of `gradient` (see `EnergyMLP.pull_gradient`)."""
        x, c = (neighbourhoods(v, self.reach) for v in (u, cotangent))
        of_x = self.local.pull_gradient(x, c, sums)
        return None if of_x is None else self._gathered(of_x)

    def _gathered(self, slopes: Tensor) -> Tensor:
        """The transpose of `neighbourhoods`: entry j of point i is that of point i + j."""
        shifts = range(-self.reach, self.reach + 1)
        parts = zip(shifts, slopes.unbind(-1), strict=True)
        return torch.stack([part.roll(j, -1) for j, part in parts]).sum(0)


class EnergyField(nn.Module):
    """du/dt = G dH/du on a periodic grid.

    A skew G (the central difference) keeps H, a dissipative one (the second difference) lets it
    fall; both keep the sum of u.

    Args:
        energy: H, a module of u [..., points]; one with `gradient(u)` is used through it, any other
            through autograd.
        dx: distance of neighbouring grid points.
        structure: of G, "skew" or "dissipative".

    Raises:
        InputError: an unknown structure, or a dx that is not positive.
    """

    def __init__(self, energy: nn.Module, dx: float, structure: str) -> None:
        super().__init__()
        if structure not in STRUCTURES:
            raise InputError(f"unknown structure={structure!r}.{suggest(structure, STRUCTURES)}")
        require("model", dx=dx)
        self.energy = energy
        self.dx = float(dx)
        self.structure = structure

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        """du/dt of u [B, points]; the time does not matter."""
        return STRUCTURES[self.structure](energy_gradient(self.energy, u), self.dx)

    def pull_back(self, t: Tensor, u: Tensor, cotangent: Tensor, sums: Sums) -> Tensor | None:
        """The vector-Jacobian product by the energy's own `pull_gradient`."""
        pull = cast("Callable[..., Tensor | None]", self.energy.pull_gradient)
        return pull(u, TRANSPOSED[self.structure](cotangent, self.dx), sums)

    @property
    def differentiates_itself(self) -> bool:
        """Whether the energy does."""
        return own_method(self.energy, "pull_gradient", "gradient") is not None


class EnergyConv(EnergyField):
    """The energy-based convolutional network HNN++ (Matsubara et al. 2020, arXiv:1905.08604).

    Args:
        dx: distance of neighbouring grid points.
        structure: "skew" (KdV) or "dissipative" (Cahn-Hilliard).
        hidden: channels of the hidden layers.
        kernel: points that the first layer sees, odd.

    Raises:
        InputError: dx or structure is missing, or a value is out of its range.
    """

    def __init__(
        self,
        dx: float | None = None,
        structure: str | None = None,
        hidden: Sequence[int] = (200, 200),
        kernel: int = 3,
    ) -> None:
        if dx is None:
            raise InputError(
                "an energy over a grid needs the distance of its points, which these data do not "
                "have. Take data=kdv or data=cahn_hilliard, or give your own trajectories of a "
                "field data.dx=NUMBER."
            )
        if structure is None:
            raise InputError(
                "these data do not say what keeps or loses the energy; give model.structure=skew "
                "(it is kept) or model.structure=dissipative (it falls)."
            )
        super().__init__(GridEnergy(hidden, kernel), dx, structure)


def reach_of(kernel: int) -> int:
    """The neighbours on each side that a kernel of so many points sees.

    Raises:
        InputError: it has no middle.
    """
    require("model", kernel=kernel)
    if kernel % 2 == 0:
        raise InputError(f"kernel={kernel}; it must be an odd number of grid points.")
    return kernel // 2


def neighbourhoods(u: Tensor, reach: int) -> Tensor:
    """(u_{i-reach}, ..., u_{i+reach}) of every point i, [..., points, 2 reach + 1]."""
    return torch.stack([u.roll(-j, -1) for j in range(-reach, reach + 1)], dim=-1)
