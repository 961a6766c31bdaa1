"""A continuous normalizing flow as functions of JAX arrays, solved by diffrax."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from torch import nn

from symadj.bench.peers.jax_solve import (
    Params,
    Solves,
    Stepping,
    array,
    arrays,
    solve,
)
from symadj.bench.problem import BenchProblem
from symadj.errors import IncompatibleError
from symadj.models.cnf import NOISES, ContinuousFlow
from symadj.models.layers import ACTIVATIONS, Concat, ConcatSquash, Plain
from symadj.models.mlp import MLP

Net = Callable[[Params, Any, Any], Any]


class JaxFlow:
    """The density of a `ContinuousFlow` of `MLP`s with Hutchinson's trace, a mean loss in nats.

    Args:
        problem: whose model's structure this has; the weights are arguments of `loss`.
        tangent: whether the trace comes from a forward-mode pass, as symadj's own does; otherwise
            from a reverse-mode pass.

    Raises:
        IncompatibleError: another model, or further terms of the loss.
    """

    def __init__(self, problem: BenchProblem, tangent: bool) -> None:
        model, task = problem.parts.model, problem.parts.task
        if not isinstance(model, ContinuousFlow) or model.trace != "hutchinson":
            raise IncompatibleError("the peer diffrax needs a flow with model.trace=hutchinson.")
        if model.norms:
            raise IncompatibleError("the peer diffrax needs a flow with model.batch_norm=false.")
        if task.weights:
            raise IncompatibleError("the peer diffrax needs task.kinetic=0 and task.jacobian=0.")
        self.T = model.T
        self.networks = [
            _network(f"networks.{k}.layers", network) for k, network in enumerate(model.networks)
        ]
        self.solves = len(self.networks)
        self.trace = _forward_mode if tangent else _reverse_mode

    def inputs(self, problem: BenchProblem) -> tuple[Params, Any, list[Any]]:
        """Weights by name, the batch, and the noise that the model draws."""
        model, batch = problem.parts.model, problem.batch
        problem.draw_again()
        draw = NOISES[str(model.noise)]
        return arrays(model), array(batch), [array(draw(batch, None)) for _ in self.networks]

    def loss(self, stepping: Sequence[Stepping]) -> Callable[..., tuple[Any, Solves]]:
        """The function (params, x [B, d], noise [B, d] per component) -> loss in nats, `Solves`.

        Args:
            stepping: for every component.
        """

        def value(params: Params, x: Any, noise: Sequence[Any]) -> tuple[Any, Solves]:
            z, total, tolds = x, jnp.zeros(len(x), x.dtype), []
            for network, e, how in zip(self.networks, noise, stepping, strict=True):
                y0 = (z, jnp.zeros(len(z), z.dtype))
                field = self._field(network, e)
                (z, change), told = solve(field, self.T, y0, params, how)
                total = total + change
                tolds.append(told)
            log_normal = -0.5 * ((z**2).sum(1) + z.shape[1] * np.log(2 * np.pi))
            return (total - log_normal).mean(), Solves.of(tolds)

        return value

    def _field(self, network: Net, e: Any) -> Callable[[Any, Any, Params], tuple[Any, Any]]:
        def field(t: Any, y: Any, params: Params) -> tuple[Any, Any]:
            f, trace = self.trace(lambda x: network(params, t, x), y[0], e)
            return f, -trace

        return field


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
