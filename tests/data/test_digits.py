"""Digits: the transformation, its log-determinant, the split, and fresh noise in every batch."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_digits

from symadj.data.digits import Digits
from symadj.errors import InputError


@pytest.fixture(scope="module")
def data() -> Digits:
    return Digits(alpha=0.05, seed=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def levels(data: Digits, x: torch.Tensor) -> torch.Tensor:
    """The integer images [n, 64] behind the vectors."""
    return (data.to_images(x.double()) * 17).floor().reshape(len(x), 64)


def test_the_splits_are_all_digits_once(data: Digits) -> None:
    assert [len(s) for s in (data.train, data.val, data.test)] == [1439, 179, 179]
    back = torch.cat([levels(data, s) for s in (data.train, data.val, data.test)])
    original = torch.from_numpy(load_digits(return_X_y=True)[0])

    def sorted_rows(x: torch.Tensor) -> list[tuple[float, ...]]:
        return sorted(map(tuple, x.tolist()))

    # float32 moves a few values across a level's edge; whole images keep their place.
    wrong = (torch.tensor(sorted_rows(back)) != torch.tensor(sorted_rows(original))).any(1)
    assert wrong.float().mean() < 0.02


def test_train_is_standardised_pixel_by_pixel(data: Digits) -> None:
    zeros = torch.zeros(64, dtype=torch.float64)
    torch.testing.assert_close(data.train.mean(0), zeros, rtol=0, atol=1e-13)
    torch.testing.assert_close(data.train.std(0, correction=0), zeros + 1)


def test_the_seed_decides_the_split() -> None:
    assert torch.equal(Digits(seed=1).test, Digits(seed=1).test)
    assert not torch.equal(
        levels(Digits(seed=1), Digits(seed=1).test), levels(Digits(seed=2), Digits(seed=2).test)
    )


def test_batches_are_training_images_with_fresh_noise(data: Digits) -> None:
    g = generator()
    batch, again = data.sample_batch(300, g), data.sample_batch(300, generator())
    assert torch.equal(batch, again)
    known = {tuple(row) for row in levels(data, data.train).tolist()}
    found = [tuple(row) in known for row in levels(data, batch).tolist()]
    assert sum(found) > 0.97 * len(found)
    assert not (batch[:, None, :] == data.train[None, :, :]).all(-1).any()
    more = data.sample_batch(300, g)
    assert not torch.equal(batch, more)


def test_log_det_is_the_transformations_own(data: Digits) -> None:
    """x(u) by the documented formula, differentiated by autograd."""
    u = torch.rand(4, 64, dtype=torch.float64, generator=generator()).requires_grad_()
    x = (torch.logit(0.05 + 0.9 * u) - data.mean) / data.std
    (slope,) = torch.autograd.grad(x.sum(), u)
    torch.testing.assert_close(data.log_det(x), slope.log().sum(-1))


def test_to_images_inverts_the_transformation(data: Digits) -> None:
    u = torch.rand(4, 64, dtype=torch.float64, generator=generator())
    x = (torch.logit(0.05 + 0.9 * u) - data.mean) / data.std
    torch.testing.assert_close(data.to_images(x), u.reshape(4, 8, 8))
    far = torch.tensor([-100.0, 100.0]).repeat(1, 32)
    assert data.to_images(far).unique().tolist() == [0.0, 1.0]


def test_uniform_pixels_cost_the_bits_of_seventeen_levels(data: Digits) -> None:
    """A model that is uniform in u has log p_x = -log_det, whatever alpha and the noise are."""
    bits = data.bits_per_dim(data.val, -data.log_det(data.val))
    torch.testing.assert_close(bits, torch.full_like(bits, math.log2(17)))


@pytest.mark.parametrize("alpha", [0.0, 0.5, -0.1, math.nan])
def test_a_bad_alpha_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match=r"alpha=.* below 0\.5"):
        Digits(alpha=alpha)


def test_ffjords_logit_is_reachable() -> None:
    """x = logit(a + (1 - 2a) (v + U) / 17) and nothing more: its log-determinant is autograd's."""
    data = Digits(alpha=1e-6, standardise=False)
    u = torch.rand(5, 64, dtype=torch.float64, generator=generator()).requires_grad_()
    x = torch.logit(1e-6 + (1 - 2e-6) * u)
    (slope,) = torch.autograd.grad(x.sum(), u)
    torch.testing.assert_close(data.log_det(x), slope.log().sum(1), rtol=1e-12, atol=0)
    shown = data.to_images(x).reshape(5, 64)
    torch.testing.assert_close(shown, u.detach(), rtol=0, atol=1e-12)
    assert "standardised" in Digits().note
    assert "standardised" not in data.note


def test_a_label_is_the_digit_of_its_image(data: Digits) -> None:
    pixels, digits = load_digits(return_X_y=True)
    known = {tuple(row): digit for row, digit in zip(pixels.tolist(), digits, strict=True)}
    batch = data.sample_labelled(300, generator())
    for x, labels in (batch, (data.val, data.labels["val"]), (data.test, data.labels["test"])):
        pairs = zip(levels(data, x).tolist(), labels.tolist(), strict=True)
        right = [known[tuple(row)] == label for row, label in pairs if tuple(row) in known]
        assert all(right)
        assert len(right) > 0.95 * len(x)
    assert data.classes == 10
