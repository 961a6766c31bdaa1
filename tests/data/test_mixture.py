"""Gaussian mixtures: standardised, reproducible, and with the density that they are drawn from."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from symadj.data.mixture import Mixture
from symadj.errors import InputError


@pytest.mark.parametrize("dim", [1, 3, 43])
def test_every_coordinate_is_standardised(dim: int) -> None:
    x = Mixture(dim, size=20_000).test
    assert x.shape == (20_000, dim)
    zeros = torch.zeros(dim, dtype=torch.float64)
    assert torch.allclose(x.mean(0), zeros, atol=0.04)
    assert torch.allclose(x.std(0), zeros + 1, atol=0.04)


def test_the_density_is_the_mixture_of_the_modes_densities() -> None:
    data = Mixture(3, modes=4, seed=2)
    x = data.test[:50]
    modes = torch.stack(
        [
            MultivariateNormal(mean, factor @ factor.T).log_prob(x.double())
            for mean, factor in zip(data.means, data.factors, strict=True)
        ]
    )
    expected = modes.exp().mean(0).log()
    assert torch.allclose(data.log_prob(x), expected, atol=1e-9)


def test_samples_follow_the_density() -> None:
    # The mean of log p over samples is the negative entropy, which an integral gives too.
    data = Mixture(1, modes=3, spread=3.0, size=20_000)
    grid = torch.linspace(-6, 6, 20_001, dtype=torch.float64).unsqueeze(-1)
    log_p = data.log_prob(grid)
    p = log_p.exp()
    step = 12 / 20_000
    assert float(p.sum() * step) == pytest.approx(1.0, abs=1e-6)
    entropy = float((p * log_p).sum() * step)
    assert float(data.log_prob(data.test).mean()) == pytest.approx(entropy, abs=0.03)


def test_batches_are_drawn_afresh_from_the_generator_alone() -> None:
    data = Mixture(4)
    one, two = (data.sample_batch(7, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    generator = torch.Generator().manual_seed(5)
    data.sample_batch(7, generator)
    assert not torch.equal(one, data.sample_batch(7, generator))


def test_the_seed_makes_the_mixture() -> None:
    assert torch.equal(Mixture(4, seed=1).means, Mixture(4, seed=1).means)
    assert not torch.equal(Mixture(4, seed=1).means, Mixture(4, seed=2).means)


@pytest.mark.parametrize(
    ("name", "value"), [("dim", 0), ("modes", 0), ("size", 0), ("spread", -1.0)]
)
def test_numbers_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        Mixture(**{name: value})  # type: ignore[arg-type]


def test_spread_must_be_finite() -> None:
    with pytest.raises(InputError, match="spread"):
        Mixture(spread=math.inf)
