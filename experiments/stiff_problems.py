"""Stiff problems, each a formula that PyTorch, NumPy and JAX evaluate alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = Any
Formula = Callable[[Any, Array, Mapping[str, Array]], Array]
"""formula(xp, y, p) -> dy/dt, with xp one of torch, numpy and jax.numpy."""


@dataclass(frozen=True)
class StiffProblem:
    """dy/dt = f(y; p), y(t[0]) = y0, in float64.

    Attributes:
        title: in figures and tables.
        formula: f.
        y0: [d], or [n, d] of n systems that are independent of each other.
        t: the output times.
        parameters: p, which gradients are taken with respect to.
        scale: atol over rtol, and what relative errors do not fall below: a size of y that matters.
    """

    title: str
    formula: Formula
    y0: np.ndarray
    t: np.ndarray
    parameters: Mapping[str, np.ndarray]
    scale: float

    def in_numpy(self, t: float, flat: np.ndarray) -> np.ndarray:
        """f for SciPy, whose states are vectors."""
        return self.formula(np, flat.reshape(self.y0.shape), self.parameters).ravel()

    def error(self, ys: np.ndarray, exact: np.ndarray) -> float:
        """The largest over the outputs of the root mean square of |y - exact| / (|exact| + scale).

        Args:
            ys: [len(t), *y0.shape].
            exact: likewise.
        """
        relative = (ys - exact) / (np.abs(exact) + self.scale)
        each = np.sqrt(np.square(relative).reshape(len(self.t), -1).mean(1))
        return float(each.max())


class TorchField(nn.Module):
    """f of a problem as a module with the parameters p."""

    def __init__(self, problem: StiffProblem) -> None:
        super().__init__()
        self.formula = problem.formula
        self.p = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(v)) for name, v in problem.parameters.items()}
        )

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        """dy/dt; the time does not matter."""
        return self.formula(torch, y, dict(self.p.items()))


def _van_der_pol(xp: Any, y: Array, p: Mapping[str, Array]) -> Array:
    x, v = y[..., 0], y[..., 1]
    return xp.stack([v, p["mu"] * (1.0 - x * x) * v - x], -1)


def _robertson(xp: Any, y: Array, p: Mapping[str, Array]) -> Array:
    a, b, c = y[..., 0], y[..., 1], y[..., 2]
    slow, fast, back = p["k1"] * a, p["k2"] * b * b, p["k3"] * b * c
    return xp.stack([back - slow, slow - back - fast, fast], -1)


def _hires(xp: Any, y: Array, p: Mapping[str, Array]) -> Array:
    bound = p["k"] * y[..., 5] * y[..., 7]
    nothing = 0.0 * bound
    source = nothing + p["source"]
    more = [source, *[nothing] * 4, -bound, bound, -bound]
    return y @ p["rates"].T + xp.stack(more, -1)


def _second_difference(xp: Any, u: Array) -> Array:
    return xp.roll(u, 1, -1) - 2.0 * u + xp.roll(u, -1, -1)


def _cahn_hilliard(xp: Any, u: Array, p: Mapping[str, Array]) -> Array:
    squared = float(u.shape[-1]) ** 2
    potential = u * u * u - u - p["gamma"] * squared * _second_difference(xp, u)
    return squared * _second_difference(xp, potential)


def _network(xp: Any, y: Array, p: Mapping[str, Array]) -> Array:
    return y @ p["decay"] + xp.tanh(y @ p["w1"] + p["b1"]) @ p["w2"]


def van_der_pol(mu: float = 1e3) -> StiffProblem:
    """x'' = mu (1 - x^2) x' - x: two jumps in a time of 2 mu; Hairer and Wanner (1996), IV.1."""
    return StiffProblem(
        f"Van der Pol, µ = {mu:,g}",
        _van_der_pol,
        np.array([2.0, 0.0]),
        np.linspace(0.0, 2 * mu, 41),
        {"mu": np.array(mu)},
        scale=1.0,
    )


def robertson() -> StiffProblem:
    """Three reactions whose rate constants are nine powers of ten apart; Robertson (1966)."""
    return StiffProblem(
        "Robertson's reactions",
        _robertson,
        np.array([1.0, 0.0, 0.0]),
        np.concatenate([[0.0], np.logspace(-4, 5, 37)]),
        {"k1": np.array(0.04), "k2": np.array(3e7), "k3": np.array(1e4)},
        scale=1e-5,
    )


def hires() -> StiffProblem:
    """High irradiance responses of plants, eight reactions; Schaefer (1975)."""
    rates = np.zeros((8, 8))
    entries = {
        (0, 0): -1.71, (0, 1): 0.43, (0, 2): 8.32,
        (1, 0): 1.71, (1, 1): -8.75,
        (2, 2): -10.03, (2, 3): 0.43, (2, 4): 0.035,
        (3, 1): 8.32, (3, 2): 1.71, (3, 3): -1.12,
        (4, 4): -1.745, (4, 5): 0.43, (4, 6): 0.43,
        (5, 3): 0.69, (5, 4): 1.71, (5, 5): -0.43, (5, 6): 0.69,
        (6, 6): -1.81, (7, 6): 1.81,
    }  # fmt: skip
    for place, rate in entries.items():
        rates[place] = rate
    return StiffProblem(
        "HIRES",
        _hires,
        np.array([1.0, 0, 0, 0, 0, 0, 0, 0.0057]),
        np.linspace(0.0, 321.8122, 41),
        {"rates": rates, "k": np.array(280.0), "source": np.array(0.0007)},
        scale=1e-3,
    )


def cahn_hilliard(points: int = 256, end: float = 0.02) -> StiffProblem:
    """u_t = D2(u^3 - u - gamma D2 u) on a periodic grid: a mixture that separates."""
    start = 0.1 * (np.random.default_rng(0).random(points) - 0.5)
    return StiffProblem(
        f"Cahn-Hilliard, {points} points",
        _cahn_hilliard,
        start,
        np.linspace(0.0, end, 21),
        {"gamma": np.array(5e-4)},
        scale=1e-2,
    )


def network(systems: int = 32, dim: int = 8, width: int = 64) -> StiffProblem:
    """A network beside linear decay at known rates, 1 to 10^4 in equal ratios, in rotated axes."""
    random = np.random.default_rng(0)
    axes, _ = np.linalg.qr(random.standard_normal((dim, dim)))
    decay = axes @ np.diag(-np.logspace(0, 4, dim)) @ axes.T
    return StiffProblem(
        f"network, rates 1 to 10⁴, {systems} systems",
        _network,
        random.standard_normal((systems, dim)),
        np.linspace(0.0, 5.0, 21),
        {
            "decay": decay,
            "w1": random.standard_normal((dim, width)) / np.sqrt(dim),
            "b1": random.standard_normal(width),
            "w2": random.standard_normal((width, dim)) / np.sqrt(width),
        },
        scale=1e-2,
    )


PROBLEMS: Mapping[str, Callable[[], StiffProblem]] = {
    "van_der_pol": van_der_pol,
    "robertson": robertson,
    "hires": hires,
    "cahn_hilliard": cahn_hilliard,
    "network": network,
}
