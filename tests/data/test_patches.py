"""The stand-in for BSDS300: named as a stand-in, split by photograph."""

from __future__ import annotations

import importlib.util
from itertools import combinations
from pathlib import Path

import pytest
import torch

from symadj.data.patches import PHOTOGRAPHS, Patches
from symadj.errors import InputError

SMALL = {"train": 3000, "val": 200, "test": 100}
needs_images = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="scikit-image is not installed"
)


def test_no_photograph_is_in_two_splits() -> None:
    for a, b in combinations(PHOTOGRAPHS.values(), 2):
        assert not set(a) & set(b)


@needs_images
def test_the_set_is_called_a_stand_in_and_has_the_sizes_asked_for() -> None:
    data = Patches(**SMALL)
    assert data.name == (
        "stand-in for BSDS300: patches of scikit-learn's and scikit-image's photographs"
    )
    assert [len(split) for split in (data.train, data.val, data.test)] == [3000, 200, 100]
    assert (data.dim, data.image_shape) == (63, (8, 8))
    assert "photographs: 10 train, 2 validation, 2 test" in data.note
    assert Patches.state(Path()).ready


@needs_images
def test_patches_are_those_of_natural_images() -> None:
    """Neighbours resemble each other, and more than pixels that are far apart."""
    x = Patches(**SMALL).train
    pixels = torch.cat([x, -x.sum(1, keepdim=True)], dim=1).reshape(-1, 8, 8)
    assert x.abs().max() < 1
    near = torch.corrcoef(torch.stack([pixels[:, 3, 3], pixels[:, 3, 4]]))[0, 1]
    far = torch.corrcoef(torch.stack([pixels[:, 0, 0], pixels[:, 7, 7]]))[0, 1]
    assert near > 0.5 > far


@needs_images
def test_the_seed_decides() -> None:
    first, again, other = (Patches(seed=seed, **SMALL).train for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@needs_images
def test_counts_below_one_are_refused() -> None:
    with pytest.raises(InputError, match=r"val=0; .* whole number from 1 to"):
        Patches(val=0)


def test_a_missing_package_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr("symadj.packages.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"not installed.*pip install 'symadj\[images\]'"):
        Patches(**SMALL)
    assert Patches.state(Path()).todo == "pip install 'symadj[images]'"
