"""The divergence of a vector field, tr(df/dz): a one-sample estimate and the exact value.

A network that has `tangent(t, z, dz) -> (f, (df/dz) dz)` carries the tangents along its forward
pass, so that a gradient of the divergence needs one level of autograd. Any other network goes
through `torch.autograd.grad`, two levels.

The squared Frobenius norm of df/dz comes from the same tangents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

# Numbers in tangents that are carried together: all directions of an image at once would need far
# more memory than anything else.
TOGETHER = 1 << 20

# (columns or rows of the Jacobian [K, B, d], number of the first one) -> [B]
Measure = Callable[[Tensor, int], Tensor]


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
    f, moved = _moved(network, t, z, noise)
    return f, _per_point(moved * noise)


def hutchinson_with_norm(
    network: nn.Module, t: Tensor, z: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`hutchinson`'s two values and the estimate |(df/dz) e|^2 of |df/dz|_F^2, [B].

    A network without `tangent` gives |(df/dz)^T e|^2, which has the same mean.
    """
    f, moved = _moved(network, t, z, noise)
    return f, _per_point(moved * noise), _per_point(moved.square())


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
    f, (trace,) = _by_turns(network, t, z, (_diagonal,))
    return f, trace


def exact_with_norm(network: nn.Module, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`exact`'s two values and |df/dz|_F^2 at every point, [B]."""
    f, (trace, norm) = _by_turns(network, t, z, (_diagonal, _squares))
    return f, trace, norm


def _moved(network: nn.Module, t: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """f(t, z) and (df/dz) e, or (df/dz)^T e of a network without tangents; both of z's shape."""
    tangent = getattr(network, "tangent", None)
    if tangent is not None:
        return tangent(t, z, noise)
    f, (moved,) = _value_and_pullbacks(network, t, z, noise.unsqueeze(0))
    return f, moved


def _by_turns(
    network: nn.Module, t: Tensor, z: Tensor, measures: Sequence[Measure]
) -> tuple[Tensor, list[Tensor]]:
    """f(t, z) and [B] for every measure, summed over turns that cover all directions."""
    d = math.prod(z.shape[1:])
    basis = torch.eye(d, dtype=z.dtype, device=z.device).reshape(d, 1, *z.shape[1:])
    together = max(1, TOGETHER // max(1, z.numel()))
    f, turns = z, []
    for first in range(0, d, together):
        f, moved = _directions(network, t, z, basis[first : first + together])
        turns.append([measure(moved, first) for measure in measures])
    # A network whose Jacobian is the same everywhere leaves the tangents' batch dimension at 1.
    sums = [torch.stack(parts).sum(0).expand(len(z)) for parts in zip(*turns, strict=True)]
    return f, sums


def _directions(
    network: nn.Module, t: Tensor, z: Tensor, directions: Tensor
) -> tuple[Tensor, Tensor]:
    """f(t, z) and the K columns, or rows, of df/dz for K unit vectors [K, 1, ...]: [K, B, d]."""
    tangent = getattr(network, "tangent", None)
    if tangent is not None:
        f, moved = tangent(t, z, directions)
    else:
        f, moved = _value_and_pullbacks(network, t, z, directions.expand(-1, *z.shape))
    return f, moved.flatten(2)


def _diagonal(moved: Tensor, first: int) -> Tensor:
    """The sum of K entries of the Jacobian's diagonal, from `first` on."""
    own = moved[..., first : first + len(moved)]
    return own.diagonal(dim1=0, dim2=-1).sum(-1)


def _squares(moved: Tensor, first: int) -> Tensor:
    """The sum of the squares of K columns or rows."""
    return moved.square().sum((0, -1))


def _per_point(values: Tensor) -> Tensor:
    return values.flatten(1).sum(-1)


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
