"""The divergence of a vector field, tr(df/dz): a one-sample estimate and the exact value.

A network that has `tangent(t, z, dz) -> (f, (df/dz) dz)` carries the tangents along its forward
pass, so that a gradient of the divergence needs one level of autograd. Any other network goes
through `torch.autograd.grad`, two levels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Numbers in tangents that are carried together: all directions of an image at once would need far
# more memory than anything else.
TOGETHER = 1 << 20


def hutchinson(network: nn.Module, t: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """f(t, z) and the estimate e^T (df/dz) e of its divergence at every point.

    Unbiased where E[e e^T] = I (Hutchinson 1990).

    Args:
        network: called as network(t, z).
        t: scalar.
        z: [B, ...], a point's d entries in any shape.
        noise: e, of z's shape.

    Returns:
        f of z's shape, and [B].
    """
    tangent = getattr(network, "tangent", None)
    if tangent is not None:
        f, moved = tangent(t, z, noise)
    else:
        f, (moved,) = _value_and_pullbacks(network, t, z, noise.unsqueeze(0))
    return f, (moved * noise).flatten(1).sum(-1)


def exact(network: nn.Module, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """f(t, z) and its divergence at every point, from one tangent for each of the d directions.

    So many directions at once as `TOGETHER` allows, each turn with an evaluation of f of its own.

    Args:
        network: called as network(t, z).
        t: scalar.
        z: [B, ...], a point's d entries in any shape.

    Returns:
        f of z's shape, and [B].
    """
    d = math.prod(z.shape[1:])
    basis = torch.eye(d, dtype=z.dtype, device=z.device).reshape(d, 1, *z.shape[1:])
    together = max(1, TOGETHER // max(1, z.numel()))
    turns = [
        _partial_trace(network, t, z, basis[first : first + together], first)
        for first in range(0, d, together)
    ]
    # A network whose Jacobian is the same everywhere leaves the tangents' batch dimension at 1.
    return turns[0][0], torch.stack([part for _, part in turns]).sum(0).expand(len(z))


def _partial_trace(
    network: nn.Module, t: Tensor, z: Tensor, directions: Tensor, first: int
) -> tuple[Tensor, Tensor]:
    """f(t, z) and the sum of K entries of the Jacobian's diagonal, from `first` on.

    The directions are those entries' unit vectors, [K, 1, *z.shape[1:]].
    """
    tangent = getattr(network, "tangent", None)
    if tangent is not None:
        f, moved = tangent(t, z, directions)
    else:
        f, moved = _value_and_pullbacks(network, t, z, directions.expand(-1, *z.shape))
    own = moved.flatten(2)[..., first : first + len(directions)]
    return f, own.diagonal(dim1=0, dim2=-1).sum(-1)


def _value_and_pullbacks(
    network: nn.Module, t: Tensor, z: Tensor, cotangents: Tensor
) -> tuple[Tensor, Tensor]:
    """f(t, z) and (df/dz)^T w for every w of `cotangents` [K, *z.shape]."""
    wanted = torch.is_grad_enabled()
    with torch.enable_grad():
        # Without a graph to keep, z may be a view that autograd cannot reach.
        leaf = z if wanted and z.requires_grad else z.detach().requires_grad_()
        f = network(t, leaf)
        products = [
            torch.autograd.grad(
                f, leaf, w, create_graph=wanted, retain_graph=True, materialize_grads=True
            )[0]
            for w in cotangents
        ]
    return f, torch.stack(products)
