"""All layers of a network at one time: their maps, and what leads back to their parameters."""

# torch._foreach_*: elementwise operations on lists of tensors, what torch's optimizers are made of.
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from symadj.models.layers import ConcatSquash, Squash, TimeAffine, linearised
from symadj.ode.gradients import Sums, add_to


class LinearisedLayers(Protocol):
    """W_1(t), b_1(t), ..., W_L(t), b_L(t) without graph, and their pull-back.

    Attributes:
        maps: these.
    """

    maps: list[Tensor]

    def pull(self, of_maps: Sequence[Tensor], sums: Sums) -> None:
        """Adds the parameters' gradients for cotangents of `maps` to their sums."""
        ...


def linearised_layers(layers: Sequence[TimeAffine], t: Tensor) -> LinearisedLayers:
    """The layers at one time t, a scalar, with the bits of their `affine`.

    Those of FFJORD's gated kinds all at once, so that launching their operations takes half as
    long; any others one by one.
    """
    kind = type(layers[0])
    known = all(type(layer) is kind and "affine" not in vars(layer) for layer in layers)
    if known and kind in (Squash, ConcatSquash):
        return _Gated(cast("Sequence[Squash]", layers), t)
    return _OneByOne(layers, t)


class _OneByOne:
    """By every layer's own `linearised`."""

    def __init__(self, layers: Sequence[TimeAffine], t: Tensor) -> None:
        self._each = [linearised(layer, t) for layer in layers]
        self.maps = [tensor for weight, bias, _ in self._each for tensor in (weight, bias)]

    def pull(self, of_maps: Sequence[Tensor], sums: Sums) -> None:
        for i, (_, _, pull) in enumerate(self._each):
            pull(of_maps[2 * i], of_maps[2 * i + 1], sums)


class _Gated:
    """W * s and b * s + w_b t with the gate s = sigmoid(w_g t + b_g), w_b of ConcatSquash alone."""

    def __init__(self, layers: Sequence[Squash], t: Tensor) -> None:
        self._layers = layers
        self._t = t
        self._weights: list[Tensor] = [layer.weight for layer in layers]
        self._biases: list[Tensor] = [layer.bias for layer in layers]
        self._slopes: list[Tensor] = [layer.gate_slope for layer in layers]
        self._drifts: list[Tensor] = [
            layer.drift for layer in layers if isinstance(layer, ConcatSquash)
        ]
        # The operations of `affine`, in their order: the same bits with and without graph.
        biases_of_gates: list[Tensor] = [layer.gate_bias for layer in layers]
        self._gates = list(torch._foreach_addcmul(biases_of_gates, self._slopes, [t] * len(layers)))
        torch._foreach_sigmoid_(self._gates)
        self._columns = [gate.unsqueeze(-1) for gate in self._gates]
        weights = torch._foreach_mul(self._weights, self._columns)
        if self._drifts:
            biases = torch._foreach_mul(self._drifts, t)
            torch._foreach_addcmul_(biases, self._biases, self._gates)
        else:
            biases = torch._foreach_mul(self._biases, self._gates)
        self.maps = [m for pair in zip(weights, biases, strict=True) for m in pair]

    def pull(self, of_maps: Sequence[Tensor], sums: Sums) -> None:
        of_weights, of_biases = list(of_maps[::2]), list(of_maps[1::2])
        of_gates = [
            torch.linalg.vecdot(v, weight)
            for v, weight in zip(of_weights, self._weights, strict=True)
        ]
        torch._foreach_addcmul_(of_gates, of_biases, self._biases)
        of_times = [
            torch.ops.aten.sigmoid_backward(v, gate)
            for v, gate in zip(of_gates, self._gates, strict=True)
        ]
        times = [self._t] * len(self._layers)
        _add_products(sums, self._weights, of_weights, self._columns)
        _add_products(sums, self._biases, of_biases, self._gates)
        _add_products(sums, self._slopes, of_times, times)
        if self._drifts:
            _add_products(sums, self._drifts, of_biases, times)
        for layer, v in zip(self._layers, of_times, strict=True):
            add_to(sums, layer.gate_bias, v)


def _add_products(
    sums: Sums,
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    factors: Sequence[Tensor],
) -> None:
    """Adds gradients times factors to those sums that there are."""
    found = zip(map(sums, parameters), gradients, factors, strict=True)
    wanted = [(total, v, factor) for total, v, factor in found if total is not None]
    if wanted:
        totals, of_totals, times = zip(*wanted, strict=True)
        torch._foreach_addcmul_(totals, of_totals, times)
