"""Memory and evaluations of one gradient as functions of N, s, L and M: what Table 1 is about."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.grad import GradientMethod
from symadj.meters.meter import make_meter
from symadj.meters.step import measure_memory
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats


@dataclass(frozen=True)
class Size:
    """One point of the comparison.

    Attributes:
        solver: its number of network uses per step is s.
        steps: N, fixed steps per component.
        layers: L, hidden layers of a network.
        components: M, neural ODEs in a row.
        batch: rows of the state.
        dim: columns of the state.
        width: of the hidden layers.
    """

    solver: str = "rk4"
    steps: int = 16
    layers: int = 4
    components: int = 1
    batch: int = 512
    dim: int = 4
    width: int = 64

    def integrator(self, gradient: str | GradientMethod) -> Integrator:
        """Fixed steps with this gradient method."""
        return Integrator(SolverSettings(self.solver, num_steps=self.steps), gradient)


class Network(nn.Module):
    """tanh layers of equal width between two linear maps, moved by the time."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        widths = [size.dim, *[size.width] * size.layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.last = nn.Linear(size.width, size.dim)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        y = y + t
        for layer in self.hidden:
            y = torch.tanh(layer(y))
        return self.last(y)


class Stack(nn.Module):
    """M neural ODEs one after the other, each over t in [0, 1]."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.components = nn.ModuleList(Network(size) for _ in range(size.components))

    def forward(self, y: Tensor, integrator: Integrator) -> Tensor:
        times = torch.tensor([0.0, 1.0], dtype=torch.float64)
        for component in self.components:
            y = integrator.solve(component, y, times).ys[-1]
        return y


def cost(gradient: str | GradientMethod, size: Size, seed: int = 0) -> dict[str, Any]:
    """Peak live tensor bytes by parts and the counts of one forward and backward pass.

    Returns:
        The size's fields, "gradient", the parts of `StepMeasurement` and of `SolveStats`, and
        "parameter_bytes", which the parameters' gradients take too.
    """
    torch.manual_seed(seed)
    model = Stack(size)
    y0 = torch.randn(size.batch, size.dim)
    integrator = size.integrator(gradient)
    stats = SolveStats()

    def taken() -> SolveStats:
        nonlocal stats
        stats = integrator.take_stats()
        return stats

    memory = measure_memory(
        lambda: model(y0, integrator).square().mean(),
        None,
        make_meter("dispatch", torch.device("cpu")),
        taken,
    )
    parameters = sum(p.nbytes for p in model.parameters())
    return {
        **asdict(size),
        "gradient": gradient if isinstance(gradient, str) else repr(gradient),
        **memory,
        **stats.as_dict(),
        "parameter_bytes": parameters,
    }
