"""A continuous normalizing flow as functions of JAX arrays, solved by diffrax."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import diffrax  # pyright: ignore[reportMissingImports]
import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from torch import Tensor, nn

from symadj.errors import IncompatibleError
from symadj.models.cnf import ContinuousFlow
from symadj.models.layers import ACTIVATIONS, Concat, ConcatSquash, Plain
from symadj.models.mlp import MLP

Params = Mapping[str, Any]
Net = Callable[[Params, Any, Any], Any]
Stepping = Mapping[str, Any]
"""What tells diffrax how to step: the arguments of `diffeqsolve` by name."""

SOLVERS = {
    "dopri5": diffrax.Dopri5,
    "tsit5": diffrax.Tsit5,
    "bosh3": diffrax.Bosh3,
    "heun": diffrax.Heun,
    "midpoint": diffrax.Midpoint,
    "euler": diffrax.Euler,
}
"""Our solvers that diffrax has too."""


class Solves(NamedTuple):
    """What the solves of one evaluation tell, an entry for each component.

    Attributes:
        steps: attempted.
        accepted: of them.
        ended: whether the end was reached.
    """

    steps: Any
    accepted: Any
    ended: Any


class JaxFlow:
    """The density of a `ContinuousFlow` of `MLP`s with Hutchinson's trace.

    Args:
        model: whose structure this has; the weights are arguments of `loss`.
        solver: one of `SOLVERS`.
        tangent: whether the trace comes from a forward-mode pass, as symadj's own does; otherwise
            from a reverse-mode pass.

    Raises:
        IncompatibleError: another model, or another solver.
    """

    def __init__(self, model: nn.Module, solver: str, tangent: bool) -> None:
        if not isinstance(model, ContinuousFlow) or model.trace != "hutchinson":
            raise IncompatibleError("the peer diffrax needs a flow with model.trace=hutchinson.")
        if model.norms:
            raise IncompatibleError("the peer diffrax needs a flow with model.batch_norm=false.")
        if solver not in SOLVERS:
            raise IncompatibleError(
                f"the peer diffrax has no solver {solver!r}; it has {', '.join(SOLVERS)}."
            )
        self.T = model.T
        self.networks = [
            _network(f"networks.{k}.layers", network) for k, network in enumerate(model.networks)
        ]
        self.solver = SOLVERS[solver]()
        self.trace = _forward_mode if tangent else _reverse_mode

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function (params, x [B, d], noise [B, d] per component) -> loss in nats, `Solves`.

        Args:
            stepping: for every component.
        """

        def value(params: Params, x: Any, noise: Sequence[Any]) -> tuple[Any, Solves]:
            z, total, told = x, jnp.zeros(len(x), x.dtype), []
            for network, e, how in zip(self.networks, noise, stepping, strict=True):
                solution = self._solve(network, params, z, e, how)
                z, change = solution.ys[0][0], solution.ys[1][0]
                total = total + change
                counts, ended = solution.stats, solution.result == diffrax.RESULTS.successful
                told.append((counts["num_steps"], counts["num_accepted_steps"], ended))
            log_normal = -0.5 * ((z**2).sum(1) + z.shape[1] * np.log(2 * np.pi))
            return (total - log_normal).mean(), Solves(*zip(*told, strict=True))

        return value

    def _solve(self, network: Net, params: Params, z: Any, e: Any, how: Stepping) -> Any:
        def field(t: Any, y: Any, params: Params) -> tuple[Any, Any]:
            f, trace = self.trace(lambda x: network(params, t, x), y[0], e)
            return f, -trace

        return diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            self.solver,
            0.0,
            self.T,
            y0=(z, jnp.zeros(len(z), z.dtype)),
            args=params,
            adjoint=diffrax.RecursiveCheckpointAdjoint(),
            throw=False,
            **how,
        )


def adaptive(rtol: float, atol: float, first: float | None, max_steps: int) -> Stepping:
    """Adaptive steps under symadj's norm: the larger of the root mean squares of the two parts."""
    return {
        "dt0": first,
        "stepsize_controller": diffrax.PIDController(rtol=rtol, atol=atol, norm=_norm),
        "max_steps": max_steps,
    }


def on_grid(times: Sequence[float]) -> Stepping:
    """Exactly these steps."""
    return {
        "dt0": None,
        "stepsize_controller": diffrax.StepTo(jnp.asarray(times)),
        "max_steps": len(times) - 1,
    }


def array(x: Tensor) -> Any:
    """A tensor as a JAX array, in the precision that JAX works in at present."""
    return jnp.asarray(x.detach().cpu().numpy(), dtype=jnp.result_type(float))


def _norm(parts: Any) -> Any:
    squares = [jnp.mean(leaf**2) for leaf in jax.tree_util.tree_leaves(parts)]
    return jnp.sqrt(jnp.max(jnp.stack(squares)))


def _forward_mode(f: Callable[[Any], Any], z: Any, e: Any) -> tuple[Any, Any]:
    value, moved = jax.jvp(f, (z,), (e,))
    return value, (moved * e).sum(1)


def _reverse_mode(f: Callable[[Any], Any], z: Any, e: Any) -> tuple[Any, Any]:
    value, pull = jax.vjp(f, z)
    return value, (pull(e)[0] * e).sum(1)


def _network(prefix: str, network: nn.Module) -> Net:
    """An `MLP` as a function of (params, t, x)."""
    if not isinstance(network, MLP):
        raise IncompatibleError(
            f"the peer diffrax knows no network {type(network).__name__}; it needs model=cnf."
        )
    kinds: list[type[nn.Module]] = [type(layer) for layer in network.layers]
    if unknown := [kind.__name__ for kind in kinds if kind not in _AFFINE]:
        raise IncompatibleError(f"the peer diffrax knows no layer {unknown[0]}.")
    (name,) = (name for name, known in ACTIVATIONS.items() if known is network.activation)
    activation = _ACTIVATIONS[name]

    def apply(params: Params, t: Any, x: Any) -> Any:
        for j, kind in enumerate(kinds):
            weight, bias = _AFFINE[kind](
                {key: params.get(f"{prefix}.{j}.{key}") for key in _NAMES}, t
            )
            x = x @ weight.T + bias
            x = activation(x) if j < len(kinds) - 1 else x
        return x

    return apply


_NAMES = ("weight", "bias", "drift", "gate_slope", "gate_bias")


def _squashed(p: Params, t: Any) -> tuple[Any, Any]:
    gate = jax.nn.sigmoid(p["gate_slope"] * t + p["gate_bias"])
    return p["weight"] * gate[:, None], p["bias"] * gate + p["drift"] * t


_AFFINE: dict[type[nn.Module], Callable[[Params, Any], tuple[Any, Any]]] = {
    Plain: lambda p, t: (p["weight"], p["bias"]),
    Concat: lambda p, t: (p["weight"], p["bias"] + p["drift"] * t),
    ConcatSquash: _squashed,
}
_ACTIVATIONS = {
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "relu": jax.nn.relu,
    "elu": jax.nn.elu,
    "swish": jax.nn.silu,
    "square": jnp.square,
    "identity": lambda x: x,
}
