"""Grey images as vectors: what a set of any size and number of levels has."""

from __future__ import annotations

import math

import pytest
import torch

from symadj.data.grey_images import GreyImages
from symadj.errors import InputError


def images(alpha: float = 0.05, levels: int = 4, standardise: bool = False) -> GreyImages:
    values = torch.randint(levels, (40, 9), generator=torch.Generator().manual_seed(0))
    return GreyImages(
        "grey",
        values,
        levels=levels,
        side=3,
        alpha=alpha,
        standardise=standardise,
        seed=0,
        note="a note",
    )


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("standardise", [False, True])
def test_bits_of_uniform_images_are_the_bits_of_a_level(levels: int, standardise: bool) -> None:
    """For u uniform in [0, 1], p_x = |du/dx| and every pixel costs log2 L bits."""
    data = images(levels=levels, standardise=standardise)
    x = data.test.double().requires_grad_()
    y = x * data.std + data.mean
    u = (torch.sigmoid(y) - data.alpha) / (1 - 2 * data.alpha)
    (du_dx,) = torch.autograd.grad(u.sum(), x)
    bits = data.bits_per_dim(x, du_dx.log().sum(-1))
    torch.testing.assert_close(bits, torch.full((4,), math.log2(levels), dtype=bits.dtype))


@pytest.mark.parametrize("standardise", [False, True])
def test_the_vectors_are_the_levels(standardise: bool) -> None:
    data = images(standardise=standardise)
    splits = torch.cat([data.train, data.val, data.test]).double()
    values = torch.randint(4, (40, 9), generator=torch.Generator().manual_seed(0))
    back = (4 * data.to_images(splits)).floor().long().reshape(40, 9)
    assert sorted(back.tolist()) == sorted(values.tolist())
    assert data.image_shape == (3, 3)
    assert (data.name, data.note, data.dim) == ("grey", "a note", 9)


def test_standardised_vectors_are_so_over_the_training_split() -> None:
    plain, standardised = images(), images(standardise=True)
    x = standardised.train.double()
    torch.testing.assert_close(x.mean(0), torch.zeros(9).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(9).double(), atol=1e-6, rtol=0)
    assert (plain.mean == 0).all()
    assert (plain.std == 1).all()
    batches = [d.sample_batch(50, torch.Generator().manual_seed(0)) for d in (plain, standardised)]
    torch.testing.assert_close(
        batches[0].double(), batches[1] * standardised.std + standardised.mean, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("alpha", [0.0, 0.5, -1.0, float("nan")])
def test_an_alpha_at_the_poles_is_refused(alpha: float) -> None:
    with pytest.raises(InputError, match=r"alpha=.* at least 1e-12 and below 0\.5"):
        images(alpha=alpha)
