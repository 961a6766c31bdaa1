"""The matrix products of one iteration of the symplectic method, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from symadj.bench.candidate import Counts, Lap, TorchCandidate
from symadj.bench.problem import BenchProblem
from symadj.bench.replay import Grid
from symadj.errors import IncompatibleError, SymadjError
from symadj.meters.meter import Meter
from symadj.meters.step import Stopwatch
from symadj.models.cnf import ContinuousFlow
from symadj.models.mlp import MLP


@dataclass(frozen=True)
class Layer:
    """The matrices of an affine layer of n inputs and m outputs on B points, one of each kind.

    Values and tangents, inputs and outputs share their shapes, so one matrix stands for both.

    Attributes:
        x: inputs [B, n].
        y: outputs, or their cotangents [B, m].
        weight: [m, n].
    """

    x: Tensor
    y: Tensor
    weight: Tensor

    def use(self) -> None:
        """The products of a use: values and tangents, y = x W^T twice."""
        for _ in range(2):
            torch.mm(self.x, self.weight.t(), out=self.y)

    def pull(self, first: bool) -> None:
        """Those of its vector-Jacobian product: both parts of W's gradient, both cotangents.

        Args:
            first: the layer's tangent is the estimate's noise, of which no cotangent is needed.
        """
        for _ in range(2):
            torch.mm(self.y.t(), self.x, out=self.weight)
        for _ in range(1 if first else 2):
            torch.mm(self.y, self.weight, out=self.x)

    def volume(self) -> int:
        """Multiplications in one product of the layer: B n m."""
        return math.prod(self.x.shape) * self.y.shape[1]


@dataclass(frozen=True)
class Products:
    """Products of so many uses of a network and of so many vector-Jacobian products.

    A vector-Jacobian product needs the inputs of every layer, hence the products of all but the
    last one, before it goes back.

    Attributes:
        layers: of the network, the first one first.
        uses: whose value is asked for.
        vjps: vector-Jacobian products.
    """

    layers: Sequence[Layer]
    uses: int
    vjps: int

    def run(self) -> None:
        """All products, one after the other."""
        for _ in range(self.uses):
            for layer in self.layers:
                layer.use()
        for _ in range(self.vjps):
            for layer in self.layers[:-1]:
                layer.use()
            for k in reversed(range(len(self.layers))):
                self.layers[k].pull(first=k == 0)

    def multiplications(self) -> int:
        """Scalar multiplications in all."""
        sizes = [layer.volume() for layer in self.layers]
        pulled = 6 * sum(sizes) - sizes[0] - 2 * sizes[-1]
        return 2 * self.uses * sum(sizes) + self.vjps * pulled


class ProductsCandidate:
    """Times the products of the problem's own iteration, whose uses it counts once.

    Args:
        problem: a flow of `MLP`s with Hutchinson's trace.

    Raises:
        IncompatibleError: another model.
    """

    grids: list[Grid] | None = None

    def __init__(self, problem: BenchProblem) -> None:
        widths = widths_of(problem.parts.model)
        counted = TorchCandidate(problem)
        counted.evaluate()
        self.loss = counted.loss
        self._steps = counted.counts().steps
        uses = counted.counts().evaluations
        self.products = Products(
            _layers(widths, problem.batch),
            uses["forward"] + uses["recomputed"],
            uses["vjps"],
        )
        self._device = problem.parts.device

    def evaluate(self) -> Lap:
        """Makes the products once, timed."""
        watch = Stopwatch(self._device)
        self.products.run()
        return Lap(watch.lap())

    def gradient(self) -> None:
        """There is none."""

    def counts(self) -> Counts:
        """The steps whose products these are."""
        return Counts({}, self._steps)

    def memory(self, meter: Meter) -> None:
        """Of no meaning."""

    def replayed(self, grids: Sequence[Grid]) -> Tensor:
        """Never: there is no gradient.

        Raises:
            SymadjError: always.
        """
        raise SymadjError("matrix products alone have no gradient.")


def widths_of(model: nn.Module) -> list[int]:
    """The widths from the inputs to the outputs of the networks of a flow.

    Raises:
        IncompatibleError: a model whose iteration has other products.
    """
    networks: list[Any] = list(model.networks) if isinstance(model, ContinuousFlow) else []
    if not networks or model.trace != "hutchinson" or any(type(n) is not MLP for n in networks):
        raise IncompatibleError(
            "products=true counts those of model=cnf with model.trace=hutchinson and "
            "model.residual=false alone."
        )
    (weights, *_) = [[layer.weight for layer in network.layers] for network in networks]
    return [weights[0].shape[1], *(weight.shape[0] for weight in weights)]


def _layers(widths: Sequence[int], like: Tensor) -> list[Layer]:
    sides = [like.new_zeros(len(like), width) for width in widths]
    return [Layer(x, y, like.new_zeros(y.shape[1], x.shape[1])) for x, y in pairwise(sides)]
