"""Prepared sets: whole or not there, read from disk, refused when damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from symadj.data import disk
from symadj.data.prepared import (
    Meta,
    PreparedData,
    Splits,
    is_prepared,
    prepare,
    prepared_path,
    write_split,
    write_splits,
)
from symadj.errors import InputError, SymadjError

RNG = np.random.default_rng(0)
SPLITS = Splits(RNG.normal(size=(50, 3)), RNG.normal(size=(5, 3)), RNG.normal(size=(6, 3)))


def make(directory: Path) -> Meta:
    write_splits(directory, SPLITS)
    return Meta(("a", "b", "c"), {"seed": 7})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return prepare(prepared_path(tmp_path, "set", 3), make)


def test_the_version_is_in_the_name(tmp_path: Path) -> None:
    assert prepared_path(tmp_path, "set", 3) == tmp_path / "prepared" / "set-v3"


def test_what_is_read_is_what_was_written(path: Path) -> None:
    data = PreparedData("SET", path, "a note")
    for split, expected in zip((data.train, data.val, data.test), SPLITS, strict=True):
        assert torch.equal(split, torch.from_numpy(expected.astype(np.float32)))
    assert (data.name, data.dim, data.note) == ("SET", 3, "a note")
    assert data.columns == ("a", "b", "c")
    assert data.meta.details == {"seed": 7}


def test_the_files_are_plain_npy(path: Path) -> None:
    for name, expected in SPLITS._asdict().items():
        np.testing.assert_array_equal(np.load(path / f"{name}.npy"), expected.astype(np.float32))


def test_a_set_stays_on_disk_and_is_not_copied(tmp_path: Path) -> None:
    """A training set of 400 GB (a file of holes) is opened and batches are drawn from it."""
    directory = tmp_path / "large"
    prepare(directory, make)
    rows, dim = 2**30, 100
    with (directory / "train.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)}
        np.lib.format.write_array_header_1_0(file, header)
        start = file.tell()
        file.truncate(start + 4 * rows * dim)
        file.seek(start + 4 * dim * (rows - 1))
        file.write(np.arange(dim, dtype="<f4").tobytes())
    for split in ("val", "test"):
        np.save(directory / f"{split}.npy", np.ones((2, dim), dtype=np.float32))
    data = PreparedData("LARGE", directory, "")
    assert data.train.shape == (rows, dim)
    assert torch.equal(data.train[-1], torch.arange(dim, dtype=torch.float32))
    batch = data.sample_batch(64, torch.Generator().manual_seed(0))
    assert batch.shape == (64, dim)
    assert batch.untyped_storage().nbytes() == 4 * 64 * dim


def test_batches_are_rows_drawn_with_replacement_and_follow_the_generator(path: Path) -> None:
    data = PreparedData("SET", path, "")
    batch = data.sample_batch(4000, torch.Generator().manual_seed(1))
    rows = {tuple(row): i for i, row in enumerate(data.train.tolist())}
    counts = np.bincount([rows[tuple(row)] for row in batch.tolist()], minlength=50)
    assert counts.min() > 40
    assert counts.max() < 130
    again = data.sample_batch(4000, torch.Generator().manual_seed(1))
    assert torch.equal(batch, again)
    assert not torch.equal(batch, data.sample_batch(4000, torch.Generator().manual_seed(2)))


def test_a_set_is_made_once(path: Path) -> None:
    def fail(directory: Path) -> Meta:
        raise AssertionError("made again")

    assert prepare(path, fail) == path


def test_a_set_is_replaced_on_request(path: Path) -> None:
    old = PreparedData("SET", path, "")
    former = old.train.clone()

    def other(directory: Path) -> Meta:
        write_splits(directory, Splits(*(2 * split for split in SPLITS)))
        return Meta()

    prepare(path, other, replace=True)
    new = PreparedData("SET", path, "")
    assert torch.equal(new.train, 2 * former)
    assert torch.equal(old.train, former)  # a training on the former set is not disturbed
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_preparation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = prepared_path(tmp_path, "set", 1)

    def fail(directory: Path) -> Meta:
        write_split(directory, "train", (1, 3), [SPLITS.train[:1]])
        raise SymadjError("no further")

    with pytest.raises(SymadjError, match="no further"):
        prepare(path, fail)
    assert not is_prepared(path)
    assert list(path.parent.iterdir()) == []


def test_a_directory_without_its_meta_file_is_made_anew(path: Path) -> None:
    (path / "meta.json").unlink()
    prepare(path, make)
    assert PreparedData("SET", path, "").dim == 3


def test_two_preparations_at_once_leave_one_whole_set(tmp_path: Path) -> None:
    path = prepared_path(tmp_path, "set", 1)

    def slow(directory: Path) -> Meta:
        prepare(path, make)  # another process is faster
        return make(directory)

    prepare(path, slow)
    assert PreparedData("SET", path, "").dim == 3
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    path = prepared_path(tmp_path, "set", 1)
    real = disk.write_block

    def full(file, block, name):
        if name.name == "val.npy":
            raise disk.unwritable(name, OSError(28, "No space left on device"))
        real(file, block, name)

    monkeypatch.setattr("symadj.data.prepared.write_block", full)
    with pytest.raises(SymadjError, match=r"disk is full: .*val\.npy"):
        prepare(path, make)
    assert list(path.parent.iterdir()) == []


def test_a_lack_of_room_is_found_before_it_is_used_up(tmp_path: Path, monkeypatch) -> None:
    free = disk.shutil.disk_usage(tmp_path)._replace(free=599)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: free)
    with pytest.raises(SymadjError, match=r"600 B are needed .* 599 B are free"):
        prepare(prepared_path(tmp_path, "set", 1), make)


def test_blocks_are_written_one_after_the_other(tmp_path: Path) -> None:
    blocks = (SPLITS.train[i : i + 7] for i in range(0, 50, 7))
    write_split(tmp_path, "train", (50, 3), blocks)
    expected = SPLITS.train.astype(np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "train.npy"), expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_values_that_float32_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    rows = SPLITS.train.copy()
    rows[3, 1] = value
    with pytest.raises(SymadjError, match="train: values that are NaN or infinite"):
        write_split(tmp_path, "train", rows.shape, [rows])


def test_a_split_of_another_length_than_stated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SymadjError, match="train: 50 rows of 51"):
        write_split(tmp_path, "train", (51, 3), [SPLITS.train])


def test_empty_splits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SymadjError, match=r"too few rows.*'val': 0"):
        write_splits(tmp_path, SPLITS._replace(val=SPLITS.val[:0]))


def cut(path: Path) -> None:
    (path / "train.npy").write_bytes((path / "train.npy").read_bytes()[:-1])


def swap_dtype(path: Path) -> None:
    np.save(path / "val.npy", SPLITS.val)


def objects(path: Path) -> None:
    np.save(path / "test.npy", np.array([[object()]]), allow_pickle=True)


def narrow(path: Path) -> None:
    np.save(path / "val.npy", SPLITS.val[:, :2].astype(np.float32))


def no_file(path: Path) -> None:
    (path / "test.npy").unlink()


def no_meta(path: Path) -> None:
    (path / "meta.json").write_text("{")


def odd_meta(path: Path) -> None:
    (path / "meta.json").write_text(json.dumps({"columns": 3, "details": {}}))


@pytest.mark.parametrize("damage", [cut, swap_dtype, objects, narrow, no_file, no_meta, odd_meta])
def test_damage_is_found_and_the_remedy_named(path: Path, damage) -> None:
    damage(path)
    with pytest.raises(InputError, match=r"set-v3 are damaged \(.*\)\. Remove that directory"):
        PreparedData("SET", path, "")
