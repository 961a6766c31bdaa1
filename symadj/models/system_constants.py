"""A known system with unknown constants as a vector field."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from symadj.errors import InputError
from symadj.ranges import require


class KnownSystem(Protocol):
    """du/dt = f(u), a dataclass some of whose fields are constants of f.

    Attributes:
        constants: the names of these fields.
    """

    constants: ClassVar[tuple[str, ...]]

    def derivative(self, u: Tensor) -> Tensor:
        """f(u)."""
        ...


class SystemConstants(nn.Module):
    """du/dt = f(u; exp(theta)): the formula of the data's own system, its constants to be learned.

    Theta starts at the logarithms of constants that are wrong by a factor, too large and too small
    in turn.

    Args:
        system: of the data.
        wrong_by: the factor, above 0.

    Attributes:
        theta: float64 [len(constants)], the logarithms.

    Raises:
        InputError: a system without constants, or a factor out of its range.
    """

    def __init__(self, system: KnownSystem | None = None, wrong_by: float = 2.0) -> None:
        super().__init__()
        require("model", wrong_by=wrong_by)
        if not getattr(system, "constants", ()):
            raise InputError(
                f"system={system}; it must be a system with constants to learn: take "
                "data=robertson, data=van_der_pol or data=lorenz63, or another model."
            )
        self.system: Any = system
        logs = [math.log(getattr(system, name)) for name in self.system.constants]
        away = [(-1) ** i * math.log(wrong_by) for i in range(len(logs))]
        self.theta = nn.Parameter(torch.tensor(logs, dtype=torch.float64) + torch.tensor(away))

    @property
    def constants(self) -> dict[str, Tensor]:
        """What they are at present, by name."""
        return dict(zip(self.system.constants, self.theta.exp(), strict=True))

    def forward(self, t: Tensor, u: Tensor) -> Tensor:
        """du/dt of u [..., dim]; the time does not matter."""
        return replace(self.system, **self.constants).derivative(u)

    def ratios(self) -> dict[str, float]:
        """Each constant over its true value, by name."""
        names = self.system.constants
        learnt = zip(names, self.theta.tolist(), strict=True)
        return {name: math.exp(log) / getattr(self.system, name) for name, log in learnt}
