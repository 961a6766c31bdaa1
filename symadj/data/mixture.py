"""Gaussian mixtures of any dimension: synthetic data of the size of a real table."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from symadj.data.base import VectorData
from symadj.memory import require_memory
from symadj.ranges import require


class Mixture(VectorData):
    """Points of a mixture of normal densities with a mean and a covariance each.

    Mode k has the weight 1/modes, a mean m_k and a Cholesky factor L_k; every coordinate of the
    whole mixture has mean 0 and variance 1. Before that scaling the means are N(0, spread^2 I), and
    L_k is the identity plus a lower triangle of N(0, 1/dim).

    Args:
        dim: entries of a point.
        modes: components of the mixture.
        spread: distance of the means from each other, in units of a mode's own deviation.
        seed: of the mixture and of its fixed sets.
        size: points in each of the fixed sets `train`, `val` and `test`; training batches are
            drawn afresh and use none of them.

    Raises:
        InputError: a number out of its range.
    """

    draws_rows = False

    def __init__(
        self, dim: int = 8, modes: int = 5, spread: float = 2.0, seed: int = 0, size: int = 5000
    ) -> None:
        require("data", dim=dim, modes=modes, spread=spread, seed=seed, size=size)
        # All in float64: two sets while the third is drawn, its noise beside its points.
        require_memory(
            8 * modes * dim * dim + 32 * size * dim,
            f"size={size}, dim={dim}, modes={modes}: a set of points",
            "take fewer points, entries or modes",
        )
        generator = torch.Generator().manual_seed(seed)
        means = spread * _normal((modes, dim), generator)
        factors = _normal((modes, dim, dim), generator).tril() / math.sqrt(dim) + torch.eye(dim)
        centre = means.mean(0)
        variance = factors.square().sum(-1).mean(0) + (means - centre).square().mean(0)
        self.means = (means - centre) / variance.sqrt()
        self.factors = factors / variance.sqrt().unsqueeze(-1)
        splits = [self._draw(size, generator) for _ in range(3)]
        super().__init__(
            f"mixture-{dim}d",
            *splits,
            note=f"synthetic: a mixture of {modes} normal densities, fresh samples in every batch",
        )

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n new points [n, dim]."""
        return self._draw(n, generator)

    def log_prob(self, x: Tensor) -> Tensor:
        """The true log density in nats for every row of x [n, dim], in float64."""
        offsets = x.double().unsqueeze(1) - self.means
        whitened = torch.linalg.solve_triangular(
            self.factors, offsets.movedim(0, -1), upper=False
        )  # [modes, dim, n]
        squares = whitened.square().sum(1).T
        log_det = self.factors.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)
        modes, dim = self.means.shape
        log_norm = 0.5 * dim * math.log(2 * math.pi) + math.log(modes)
        return (-0.5 * squares - log_det).logsumexp(1) - log_norm

    def _draw(self, n: int, generator: torch.Generator) -> Tensor:
        mode = torch.randint(len(self.means), (n,), generator=generator)
        noise = _normal((n, self.means.shape[1]), generator)
        points = torch.empty_like(noise)
        # Mode by mode: a factor for each point would take n dim^2 numbers.
        for k, (mean, factor) in enumerate(zip(self.means, self.factors, strict=True)):
            points[mode == k] = noise[mode == k] @ factor.T + mean
        return points


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)
