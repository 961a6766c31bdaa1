"""The five sets on the small archive, each against a plain computation of its own."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from symadj.data.maf import gas as gas_module
from symadj.data.maf import hepmass as hepmass_module
from symadj.data.maf.base import MAFData, split_tail
from symadj.data.maf.bsds300 import BSDS300
from symadj.data.maf.gas import Gas
from symadj.data.maf.hepmass import Hepmass
from symadj.data.maf.miniboone import Miniboone
from symadj.data.maf.power import Power
from symadj.errors import InputError, SymadjError
from tests.data.maf.small_archive import Raw

SETS = [Power, Gas, Hepmass, Miniboone, BSDS300]


def assert_splits(data: MAFData, train, val, test) -> None:
    """The splits, to float32's rounding; row for row."""
    for split, expected in ((data.train, train), (data.val, val), (data.test, test)):
        assert split.dtype == torch.float32
        assert tuple(split.shape) == np.shape(expected)
        np.testing.assert_allclose(split.numpy(), expected, rtol=2e-7, atol=1e-7)
    assert data.dim == np.shape(train)[1]


def standardised(x, seen):
    return (x - seen.mean(0)) / seen.std(0)


def test_power(fetched: Path, raw: Raw) -> None:
    n = len(raw.power)
    rng = np.random.RandomState(42)
    order = np.arange(n)
    rng.shuffle(order)
    gap, _, voltage, _, sub1, sub2, sub3, time = raw.power[order].T
    voltage = voltage + 0.01 * rng.rand(n)
    gap = gap + 0.001 * rng.rand(n)
    noise = rng.rand(3 * n)
    sub1, sub2, sub3 = sub1 + noise[::3], sub2 + noise[1::3], sub3 + noise[2::3]
    x = np.stack([gap, voltage, sub1, sub2, sub3, time], axis=1)
    seen = x[: n - 23]
    assert_splits(
        Power(),
        standardised(x[: n - 23 - 20], seen),
        standardised(x[n - 23 - 20 : n - 23], seen),
        standardised(x[n - 23 :], seen),
    )


def test_gas(fetched: Path, raw: Raw) -> None:
    """R1, then R2, then R3 go, each the first column that still has a partner."""
    data = Gas()
    assert data.columns == ("R4", "R5", "R6", "R7")
    x = raw.gas[["R4", "R5", "R6", "R7"]].to_numpy()
    z = (x - x.mean(0)) / x.std(0, ddof=1)
    assert_splits(data, z[: 140 - 14 - 12], z[140 - 14 - 12 : 140 - 14], z[140 - 14 :])


def test_gas_looks_at_the_correlations_anew_after_each_column() -> None:
    """b goes for a's sake first: c's only partner is gone, so c stays."""
    rng = np.random.default_rng(0)
    b, u, v = np.linalg.qr(rng.normal(size=(500, 3)))[0].T
    angle = np.arccos(0.985)
    a = np.cos(angle) * b + np.sin(angle) * u
    c = np.cos(angle) * b - np.sin(angle) * u
    none = np.zeros(500)
    frame = pd.DataFrame({"Time": none, "Meth": none, "Eth": none, "b": b, "a": a, "c": c, "d": v})
    assert np.corrcoef(a, c)[0, 1] < 0.98 < np.corrcoef(b, c)[0, 1]
    splits, columns = gas_module.preprocess(frame)
    assert columns == ("a", "c", "d")
    assert splits.train.shape == (405, 3)


def test_gas_is_not_read_from_a_file_that_was_exchanged(fetched: Path) -> None:
    (fetched / "maf" / "gas" / "ethylene_CO.pickle").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(SymadjError, match="is not what the archive holds and is not opened"):
        Gas()


def test_hepmass(fetched: Path, raw: Raw) -> None:
    train = raw.hepmass_train[raw.hepmass_train["# label"] == 1]
    test = raw.hepmass_test[raw.hepmass_test["# label"] == 1]
    assert max(Counter(train["f3"]).values()) > 5  # repeated, but not the smallest value
    kept = [f for f in ("f0", "f1", "f2", "f3", "f4") if Counter(train[f])[train[f].min()] <= 5]
    assert kept == ["f0", "f2", "f3", "f4"]
    mean, std = train[kept].mean(), train[kept].std(ddof=1)
    z, w = ((part[kept] - mean) / std for part in (train, test))
    n_val = int(len(z) * 0.1)
    data = Hepmass()
    assert data.columns == tuple(kept)
    assert_splits(data, z[:-n_val], z[-n_val:], w)


def test_hepmass_keeps_a_feature_whose_smallest_value_comes_five_times() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    x[:5, 0], x[:6, 1] = -9.0, -9.0
    train = pd.DataFrame(x, columns=["a", "b", "c"])
    splits, columns = hepmass_module.preprocess(train, train.assign(mass=1.0))
    assert columns == ("a", "c")
    np.testing.assert_allclose(splits.test, np.concatenate([splits.train, splits.val]))


def test_hepmass_refuses_files_of_different_features() -> None:
    train = pd.DataFrame(np.ones((20, 2)), columns=["f0", "f1"])
    with pytest.raises(SymadjError, match="the files' features differ"):
        hepmass_module.preprocess(train, train)


def test_miniboone(fetched: Path, raw: Raw) -> None:
    x = raw.miniboone
    seen = x[:135]
    parts = (x[:122], x[122:135], x[135:])
    assert_splits(Miniboone(), *(standardised(part, seen) for part in parts))


def test_bsds300(fetched: Path, raw: Raw) -> None:
    data = BSDS300()
    assert_splits(data, *(raw.bsds300[name] for name in ("train", "validation", "test")))
    assert data.to_images(data.train).shape == (40, 8, 8)


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (2_049_280, (1_659_917, 184_435, 204_928)),  # POWER
        (1_052_065, (852_174, 94_685, 105_206)),  # GAS
        (36_488, (29_556, 3_284, 3_648)),  # MINIBOONE
        (9, (9, 0, 0)),
    ],
)
def test_the_splits_have_the_published_sizes(rows: int, sizes: tuple[int, int, int]) -> None:
    splits = split_tail(np.arange(rows)[:, None])
    assert tuple(len(split) for split in splits) == sizes
    assert (np.concatenate(splits)[:, 0] == np.arange(rows)).all()


@pytest.mark.parametrize("made_by", SETS)
def test_without_the_archive_the_error_has_the_command(made_by, root: Path) -> None:
    with pytest.raises(InputError, match=r"by: symadj-data fetch maf$"):
        made_by()
    assert not root.exists()


@pytest.mark.parametrize("made_by", SETS)
def test_what_is_prepared_needs_the_archive_no_more(made_by, fetched: Path, tmp_path) -> None:
    first = made_by()
    (fetched / "maf").rename(tmp_path / "away")
    again = made_by(data_dir=str(fetched))
    assert torch.equal(again.train, first.train)
    assert again.columns == first.columns
    assert (again.name, again.note) == (first.name, first.note)


@pytest.mark.parametrize("made_by", SETS)
def test_the_state_says_what_to_do_next(made_by, fetched: Path, tmp_path: Path) -> None:
    nothing = made_by.state(tmp_path / "empty")
    assert (nothing.ready, nothing.todo) == (False, "symadj-data fetch maf")
    raw_only = made_by.state(fetched)
    assert (raw_only.ready, raw_only.todo) == (False, f"symadj-data prepare {made_by.key}")
    size = sum(file.stat().st_size for file in made_by.prepare(fetched).iterdir())
    assert (made_by.state(fetched).ready, made_by.state(fetched).size) == (True, size)


@pytest.mark.parametrize("shape", [(40, 7), (40,)])
def test_an_array_of_another_shape_is_refused(fetched: Path, shape) -> None:
    np.save(fetched / "maf" / "power" / "data.npy", np.ones(shape))
    with pytest.raises(InputError, match="8 columns of numbers are needed"):
        Power()


def test_too_few_rows_for_three_splits_are_refused(fetched: Path) -> None:
    np.save(fetched / "maf" / "miniboone" / "data.npy", np.arange(9 * 43.0).reshape(9, 43))
    with pytest.raises(SymadjError, match="too few rows"):
        Miniboone()


def test_missing_h5py_names_the_extra(fetched: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"h5py.*pip install 'symadj\[maf\]'"):
        BSDS300()
