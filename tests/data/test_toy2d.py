"""The toy densities: their geometry with FFJORD's constants, and their draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import make_circles, make_moons, make_swiss_roll

from symadj.data.toy2d import SAMPLERS, Toy2D
from symadj.errors import InputError

N = 40_000


def draw(name: str) -> torch.Tensor:
    return SAMPLERS[name](N, torch.Generator().manual_seed(0)).double()


def reference(name: str) -> np.ndarray:
    """FFJORD's recipe for the sets that it takes from scikit-learn."""
    if name == "swissroll":
        return np.asarray(make_swiss_roll(N, noise=1.0, random_state=0)[0])[:, [0, 2]] / 5
    if name == "circles":
        return np.asarray(make_circles(N, factor=0.5, noise=0.08, random_state=0)[0]) * 3
    return np.asarray(make_moons(N, noise=0.1, random_state=0)[0]) * 2 + np.array([-1, -0.2])


@pytest.mark.parametrize("name", ["swissroll", "circles", "moons"])
def test_sets_from_scikit_learn_have_its_distribution(name: str) -> None:
    ours, theirs = draw(name).numpy(), reference(name)
    cells = np.linspace(-4, 4, 13)
    shares = [np.histogram2d(*x.T, bins=(cells, cells))[0].ravel() / N for x in (ours, theirs)]
    # Each share has a deviation of at most sqrt(p / N); two draws differ by sqrt(2) as much.
    deviation = np.sqrt(2 * (shares[0] + shares[1] + 1 / N) / 2 / N)
    assert (np.abs(shares[0] - shares[1]) < 5 * deviation).all()


def test_rings_lie_on_four_radii_in_equal_shares() -> None:
    radius = draw("rings").norm(dim=1)
    nearest = (radius / 0.75).round().clamp(1, 4)
    off = radius - 0.75 * nearest
    assert off.std().item() == pytest.approx(0.08, rel=0.05)
    shares = torch.stack([(nearest == k).double().mean() for k in (1, 2, 3, 4)])
    torch.testing.assert_close(shares, torch.full((4,), 0.25).double(), rtol=0, atol=0.02)


def test_eight_gaussians_have_their_centres_and_deviation() -> None:
    x = draw("8gaussians")
    angles = torch.arange(8) * math.pi / 4
    centres = 4 / 1.414 * torch.stack([angles.cos(), angles.sin()], dim=1).double()
    distance, nearest = torch.cdist(x, centres).min(dim=1)
    assert torch.bincount(nearest, minlength=8).min() > N / 8 * 0.9
    assert (distance**2).mean().item() == pytest.approx(2 * (0.5 / 1.414) ** 2, rel=0.05)


def test_pinwheel_arms_unroll_to_one_normal_density() -> None:
    """Turning every point back by its arm's angle leaves mean (2, 0), deviations (0.6, 0.2)."""
    x = draw("pinwheel") / 2
    radius, angle = x.norm(dim=1), torch.atan2(x[:, 1], x[:, 0])
    # The rotation is clockwise, and the radius stands for the distance along the arm.
    turned = angle + 0.25 * radius.exp()
    across = torch.remainder(turned + math.pi / 5, 2 * math.pi / 5) - math.pi / 5
    assert radius.mean().item() == pytest.approx(1.0, abs=0.02)
    assert radius.std().item() == pytest.approx(0.3, rel=0.03)
    close = across[(radius - 1).abs() < 0.2]
    assert close.std().item() == pytest.approx(0.1, rel=0.1)


def test_two_spirals_are_opposite_and_of_540_degrees() -> None:
    x = draw("2spirals")
    assert x.mean(0).abs().max() < 0.05
    assert x.norm(dim=1).max().item() == pytest.approx(3 * math.pi / 3, rel=0.2)
    # t^2 is uniform over [0, (3 pi)^2], so the mean squared radius is (3 pi)^2 / 2 / 9.
    jitter = 2 * (0.5**2 / 3) / 9 + 2 * 0.1**2
    assert (x**2).sum(1).mean().item() == pytest.approx(math.pi**2 / 2 + jitter, rel=0.1)


def test_checkerboard_fills_the_dark_squares_only() -> None:
    x = draw("checkerboard") / 2
    column, row = x.floor().long().unbind(1)
    assert ((column + row) % 2 == 0).all()
    assert x.abs().max() <= 2
    shares = torch.bincount((column + 2) * 4 + row + 2, minlength=16) / N
    assert shares[shares > 0].shape == (8,)
    assert shares[shares > 0].min() > 0.11


@pytest.mark.parametrize("name", SAMPLERS)
def test_batches_are_fresh_and_the_fixed_sets_are_not(name: str) -> None:
    data, same, other = Toy2D(name, seed=1, size=50), Toy2D(name, 1, 50), Toy2D(name, 2, 50)
    assert data.train.shape == data.val.shape == data.test.shape == (50, 2)
    assert torch.equal(data.val, same.val)
    assert not torch.equal(data.val, other.val)
    assert not torch.equal(data.val, data.test)
    generator = torch.Generator().manual_seed(0)
    first, second = data.sample_batch(30, generator), data.sample_batch(30, generator)
    assert first.shape == (30, 2)
    assert not torch.equal(first, second)
    assert torch.equal(first, data.sample_batch(30, torch.Generator().manual_seed(0)))
    assert torch.isfinite(first).all()


def test_all_eight_sets_of_ffjord_are_there() -> None:
    assert set(SAMPLERS) == {
        *("swissroll", "circles", "rings", "moons"),
        *("8gaussians", "pinwheel", "2spirals", "checkerboard"),
    }


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="Did you mean '8gaussians'"):
        Toy2D("8gausians")
    with pytest.raises(InputError, match="size=0"):
        Toy2D(size=0)
