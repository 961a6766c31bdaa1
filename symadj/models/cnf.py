"""Continuous normalizing flows: densities from the solution of an ODE."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.errors import InputError, suggest
from symadj.models import divergence
from symadj.models.batch_norm import BatchNorm
from symadj.models.mlp import MLP
from symadj.models.residual import Residual
from symadj.ode.gradients import Sums, own_method
from symadj.ranges import require
from symadj.share import drawn

Draw = Callable[[Tensor, torch.Generator | None], Tensor]

TRACES = ("hutchinson", "exact")
COSTS = ("kinetic", "jacobian")


class ContinuousFlow(nn.Module):
    """A stack of neural ODEs that carries data to a standard normal variable.

    Component by component, over t in [0, T]:

        dz/dt = f(t, z),    d(delta_logp)/dt = -tr(df/dz),    log p(x) = log N(z(T)) - delta_logp

    (Grathwohl et al. 2019, FFJORD, arXiv:1810.01367). Every component is a solve of its own. Its
    trace is estimated with noise that is drawn once per solve and kept throughout it, so that the
    field stays a deterministic function of t and z.

    Args:
        networks: f of every component, called as f(t, z) with a scalar t and z [B, d]; one with
            `tangent(t, z, dz)` is used through it (see `symadj.models.divergence`).
        trace: "hutchinson" (an estimate) or "exact" (d tangents), when `exact` is not asked for.
        noise: "gaussian" or "rademacher" (signs, of less variance).
        T: the time that every component is integrated over.
        norms: none, or what stands before each component and behind the last one: modules x ->
            (y, log |det dy/dx|) with `inverse(y)`, as `symadj.models.batch_norm.BatchNorm`.

    Raises:
        InputError: an unknown name, no component, norms of another number, or a T that is not
            positive.
    """

    def __init__(
        self,
        networks: Iterable[nn.Module],
        trace: str = "hutchinson",
        noise: str = "gaussian",
        T: float = 1.0,
        norms: Iterable[nn.Module] = (),
    ) -> None:
        super().__init__()
        if trace not in TRACES:
            raise InputError(f"unknown trace={trace!r}.{suggest(trace, TRACES)}")
        if noise not in NOISES:
            raise InputError(f"unknown noise={noise!r}.{suggest(noise, NOISES)}")
        require("model", T=T)
        self.networks = nn.ModuleList(networks)
        if not self.networks:
            raise InputError("a flow without components; at least 1 is needed.")
        self.norms = nn.ModuleList(norms)
        if self.norms and len(self.norms) != len(self.networks) + 1:
            raise InputError(
                f"{len(self.norms)} norms for {len(self.networks)} components; needed is one more "
                "than components, or none."
            )
        self.trace = trace
        self.noise = noise
        self.T = float(T)

    def forward(
        self,
        x: Tensor,
        integrator: Integrator,
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Carries data to the normal variable.

        Args:
            x: [B, d].
            integrator: solver and gradient method.
            exact: whether the trace is exact, whatever the model's `trace`.
            generator: of the noise; None: torch's global one.

        Returns:
            z [B, d] and delta_logp [B], with log p(x) = log N(z; 0, I) - delta_logp.
        """
        z, (delta_logp,) = self.carry(x, integrator, (), exact, generator)
        return z, delta_logp

    def carry(
        self,
        x: Tensor,
        integrator: Integrator,
        costs: Sequence[str] = (),
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """`forward`, and what the way has cost: integrals over time, summed over the components.

        Every cost is one more number per point in the state of the solve, so that its value and its
        gradient are as exact as those of delta_logp, and its error counts in the step size too.

        Args:
            x: [B, d].
            integrator: solver and gradient method.
            costs: of `COSTS`, as `DensityField` has them.
            exact: whether trace and Jacobian norm are exact, whatever the model's `trace`.
            generator: of the noise; None: torch's global one.

        Returns:
            z [B, d], and delta_logp and the costs in their order, [B] each.
        """
        times = self._times(x, 0.0, self.T)
        start = [x.new_zeros(x.shape[0]) for _ in (0, *costs)]
        z, delta_logp = self._normalize(0, x, start[0])
        totals = [delta_logp, *start[1:]]
        for k, network in enumerate(self.networks):
            field = self._field(network, z, costs, exact, generator)
            z, *changes = (y[-1] for y in integrator.solve(field, (z, *start), times).ys)
            totals = [total + change for total, change in zip(totals, changes, strict=True)]
            z, totals[0] = self._normalize(k + 1, z, totals[0])
        return z, totals

    def log_prob(
        self,
        x: Tensor,
        integrator: Integrator,
        exact: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """log p(x) in nats for every row of x [B, d]; arguments as in `forward`."""
        z, delta_logp = self(x, integrator, exact, generator)
        return standard_normal_logprob(z) - delta_logp

    def inverse(self, z: Tensor, integrator: Integrator) -> Tensor:
        """Carries the normal variable z [B, d] back to data; no trace is computed."""
        times = self._times(z, self.T, 0.0)
        for k in reversed(range(len(self.networks))):
            z = integrator.solve(self.networks[k], self._denormalize(k + 1, z), times).ys[-1]
        return self._denormalize(0, z)

    def _normalize(self, k: int, z: Tensor, delta_logp: Tensor) -> tuple[Tensor, Tensor]:
        """z and delta_logp behind the k-th norm, where there are norms."""
        if not self.norms:
            return z, delta_logp
        z, log_det = self.norms[k](z)
        return z, delta_logp - log_det

    def _denormalize(self, k: int, z: Tensor) -> Tensor:
        return cast("BatchNorm", self.norms[k]).inverse(z) if self.norms else z

    def _field(
        self,
        network: nn.Module,
        z: Tensor,
        costs: Sequence[str],
        exact: bool,
        generator: torch.Generator | None,
    ) -> nn.Module:
        if exact or self.trace == "exact":
            return DensityField(network, None, costs)
        return DensityField(network, NOISES[self.noise](z, generator), costs)

    @staticmethod
    def _times(x: Tensor, start: float, end: float) -> Tensor:
        return torch.tensor([start, end], dtype=torch.float64, device=x.device)


class CNF(ContinuousFlow):
    """The FFJORD flow: a `ContinuousFlow` of `MLP` components.

    Args:
        dim: entries of a data point.
        hidden: widths of the hidden layers.
        components: M, the number of stacked components, each with weights of its own.
        activation: one of `symadj.models.layers.ACTIVATIONS`.
        layer: one of `symadj.models.layers.LAYERS`.
        trace: as in `ContinuousFlow`.
        noise: as in `ContinuousFlow`.
        T: as in `ContinuousFlow`.
        batch_norm: whether a `BatchNorm` stands before each component and behind the last one.
        residual: whether dz/dt is f(t, z) - z, as in `Residual`.

    Raises:
        InputError: an unknown name, or a number out of its range.
    """

    def __init__(
        self,
        dim: int,
        hidden: Sequence[int] = (64, 64, 64),
        components: int = 1,
        activation: str = "tanh",
        layer: str = "concatsquash",
        trace: str = "hutchinson",
        noise: str = "gaussian",
        T: float = 1.0,
        batch_norm: bool = False,
        residual: bool = False,
    ) -> None:
        require("model", components=components)
        networks: list[nn.Module] = []
        for _ in range(components):
            network = MLP(dim, hidden, activation, layer)
            networks.append(Residual(network) if residual else network)
        norms = [BatchNorm(dim) for _ in range(components + 1)] if batch_norm else ()
        super().__init__(networks, trace, noise, T, norms)


class DensityField(nn.Module):
    """(f, -tr(df/dz), c_1, c_2, ...) of the state (z, delta_logp, costs), for one solve.

    A cost c is, at every point, "kinetic": |f|^2, or "jacobian": |df/dz|_F^2, with the exact trace
    exactly and with an estimated one as |(df/dz) e|^2 on the same noise (Finlay et al. 2020,
    arXiv:2002.02798, have |e^T df/dz|^2; the means are the same).

    Args:
        network: f.
        noise: of the estimates, of z's shape; None: the exact trace.
        costs: of `COSTS`.

    Raises:
        InputError: an unknown cost.
    """

    def __init__(
        self, network: nn.Module, noise: Tensor | None = None, costs: Sequence[str] = ()
    ) -> None:
        super().__init__()
        if unknown := [cost for cost in costs if cost not in COSTS]:
            raise InputError(f"unknown cost {unknown[0]!r}.{suggest(unknown[0], COSTS)}")
        self.network = network
        self.noise = noise
        self.costs = tuple(costs)

    def forward(self, t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        z = state[0]
        if "jacobian" not in self.costs:
            f, trace = self._divergence(t, z)
            return f, -trace, *(_square(f) for _ in self.costs)
        if self.noise is None:
            f, trace, norm = divergence.exact_with_norm(self.network, t, z)
        else:
            f, trace, norm = divergence.hutchinson_with_norm(self.network, t, z, self.noise)
        return f, -trace, *(norm if cost == "jacobian" else _square(f) for cost in self.costs)

    def pull_back(
        self, t: Tensor, state: tuple[Tensor, ...], cotangents: tuple[Tensor, ...], sums: Sums
    ) -> tuple[Tensor, ...] | None:
        """The vector-Jacobian product by the network's own `pull_tangent`, as `Field.pull_back`."""
        pull_tangent = cast("Callable[..., Tensor | None]", self.network.pull_tangent)
        assert self.noise is not None
        z, of_f, of_trace = state[0], *cotangents
        of_moved = self.noise * of_trace.neg().unsqueeze(-1)
        of_z = pull_tangent(t, z, self.noise, (of_f, of_moved), sums)
        return None if of_z is None else (of_z, torch.zeros_like(of_trace))

    @property
    def differentiates_itself(self) -> bool:
        """Whether `pull_back` can: for an estimated trace without costs, if the network does."""
        if self.noise is None or self.costs:
            return False
        return own_method(self.network, "pull_tangent", "tangent") is not None

    def _divergence(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        if self.noise is None:
            return divergence.exact(self.network, t, z)
        return divergence.hutchinson(self.network, t, z, self.noise)


def _square(f: Tensor) -> Tensor:
    """|f|^2 at every point."""
    return f.square().flatten(1).sum(-1)


def standard_normal_logprob(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats for every row of z [B, d]."""
    return -0.5 * (z.square().sum(-1) + z.shape[-1] * math.log(2 * math.pi))


def _gaussian(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randn(shape, dtype=like.dtype, device=device, generator=generator)

    return drawn(like.shape, draw).to(like.device)


def _rademacher(like: Tensor, generator: torch.Generator | None) -> Tensor:
    device = like.device if generator is None else generator.device

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.randint(2, shape, device=device, generator=generator)

    bits = drawn(like.shape, draw)
    return (2 * bits - 1).to(dtype=like.dtype, device=like.device)


NOISES: dict[str, Draw] = {"gaussian": _gaussian, "rademacher": _rademacher}
