"""The right-hand sides of `users.fields` as functions of JAX arrays; weights by torch's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
from torch import nn

from users import fields

Params = Mapping[str, Any]
JaxField = Callable[[Any, Any, Params], Any]


def jax_field(module: nn.Module) -> JaxField:
    """f(t, y, params) of a module of `users.fields`.

    That of a `Flow` has its noise as one more argument.
    """
    return _FIELDS[type(module)](module)


def _flow(module: fields.Flow) -> Callable[..., Any]:
    net = _mlp("net", module.net)

    def f(t: Any, state: Any, params: Params, noise: Any) -> Any:
        def of_z(z: Any) -> Any:
            return net(params, jnp.concatenate([z, t * jnp.ones_like(z[:, :1])], axis=1))

        value, pull = jax.vjp(of_z, state[0])
        return value, -(pull(noise)[0] * noise).sum(1)

    return f


def _convolutional(module: fields.Convolutional) -> JaxField:
    groups, eps = module.norm.num_groups, module.norm.eps

    def convolve(name: str, t: Any, y: Any, params: Params) -> Any:
        weight, bias = _affine(params, name)
        y = jnp.concatenate([y, t * jnp.ones_like(y[:, :1])], axis=1)
        return jax.lax.conv_general_dilated(y, weight, (1, 1), "SAME") + bias[:, None, None]

    def normalize(y: Any, params: Params) -> Any:
        weight, bias = _affine(params, "norm")
        y = _normal(y.reshape(len(y), groups, -1), eps).reshape(y.shape)
        return y * weight[:, None, None] + bias[:, None, None]

    def f(t: Any, y: Any, params: Params) -> Any:
        hidden = normalize(jnp.tanh(convolve("conv1", t, y, params)), params)
        return convolve("conv2", t, hidden, params)

    return f


def _hamiltonian(module: fields.Hamiltonian) -> JaxField:
    energy = _mlp("energy", module.energy)

    def f(t: Any, x: Any, params: Params) -> Any:
        of_q, of_p = jnp.split(jax.grad(lambda x: energy(params, x).sum())(x), 2, axis=1)
        return jnp.concatenate([of_p, -of_q], axis=1)

    return f


def _attention(module: fields.Attention) -> JaxField:
    heads = module.heads

    def attend(x: Any, params: Params) -> Any:
        batch, length, width = x.shape
        qkv = _linear(params, "qkv", x).reshape(batch, length, 3, heads, width // heads)
        q, k, v = jnp.moveaxis(qkv, 2, 0)
        scores = jnp.einsum("blhi,bmhi->bhlm", q, k) / np.sqrt(width // heads)
        attended = jnp.einsum("bhlm,bmhi->blhi", jax.nn.softmax(scores), v)
        return _linear(params, "out", attended.reshape(x.shape))

    def norm(name: str, x: Any, params: Params) -> Any:
        weight, bias = _affine(params, name)
        return _normal(x, module.norm1.eps) * weight + bias

    def f(t: Any, y: Any, params: Params) -> Any:
        attended = attend(norm("norm1", y, params), params)
        inner = _linear(params, "mlp.0", norm("norm2", y + attended, params))
        return attended + _linear(params, "mlp.2", jax.nn.gelu(inner, approximate=False))

    return f


def _latent(module: fields.Latent) -> JaxField:
    net = _mlp("net", module.net)
    return lambda t, y, params: net(params, y)


def _stiff(module: fields.Stiff) -> JaxField:
    net = _mlp("net", module.net)
    return lambda t, y, params: y @ params["decay"] + net(params, y)


def _mlp(name: str, net: nn.Sequential) -> Callable[[Params, Any], Any]:
    """`users.fields.mlp` as a function of (params, x)."""
    first, *others = (i for i, layer in enumerate(net) if isinstance(layer, nn.Linear))

    def apply(params: Params, x: Any) -> Any:
        x = _linear(params, f"{name}.{first}", x)
        for i in others:
            x = _linear(params, f"{name}.{i}", jnp.tanh(x))
        return x

    return apply


def _linear(params: Params, name: str, x: Any) -> Any:
    weight, bias = _affine(params, name)
    return x @ weight.T + bias


def _affine(params: Params, name: str) -> tuple[Any, Any]:
    return params[f"{name}.weight"], params[f"{name}.bias"]


def _normal(x: Any, eps: float) -> Any:
    """Mean 0 and variance 1 along the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + eps)


_FIELDS: dict[type[nn.Module], Callable[[Any], Callable[..., Any]]] = {
    fields.Flow: _flow,
    fields.Convolutional: _convolutional,
    fields.Hamiltonian: _hamiltonian,
    fields.Attention: _attention,
    fields.Latent: _latent,
    fields.Stiff: _stiff,
}
