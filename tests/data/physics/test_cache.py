from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from symadj.data.physics.cache import cached_trajectories

SETTINGS = {"name": "waves", "version": 1}


class Generator:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> Tensor:
        self.calls += 1
        return torch.arange(6, dtype=torch.float64).reshape(2, 3)


def load(directory: Path, make: Generator, settings=SETTINGS, shape=(2, 3)) -> Tensor:
    return cached_trajectories("waves-v1", settings, shape, make, directory)


def path_in(directory: Path) -> Path:
    (found,) = (directory / "physics").iterdir()
    return found


def test_made_once_and_kept(tmp_path: Path) -> None:
    make = Generator()
    first, second = load(tmp_path, make), load(tmp_path, make)
    assert make.calls == 1
    assert torch.equal(first, second)
    assert path_in(tmp_path).name == "waves-v1.npz"


def test_other_settings_are_other_numbers(tmp_path: Path) -> None:
    make = Generator()
    load(tmp_path, make)
    load(tmp_path, make, {"name": "waves", "version": 2})
    assert make.calls == 2


def spoil_torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def spoil_empty(path: Path) -> None:
    path.write_bytes(b"")


def spoil_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.index(np.float64(5).tobytes())
    content[start] ^= 1
    path.write_bytes(bytes(content))


def spoil_text(path: Path) -> None:
    path.write_text("not an archive")


def spoil_pickle(path: Path) -> None:
    entries = dict(np.load(path))
    np.savez(path, settings=entries["settings"], u=np.array([[object()] * 3] * 2))


def spoil_array(path: Path) -> None:
    with open(path, "wb") as file:
        np.save(file, np.zeros((2, 3)))


@pytest.mark.parametrize(
    "spoil", [spoil_torn, spoil_empty, spoil_bit, spoil_text, spoil_pickle, spoil_array]
)
def test_a_spoilt_file_is_made_anew(spoil, tmp_path: Path) -> None:
    make = Generator()
    good = load(tmp_path, make)
    spoil(path_in(tmp_path))
    assert torch.equal(load(tmp_path, make), good)
    assert make.calls == 2
    assert torch.equal(load(tmp_path, make), good)
    assert make.calls == 2


@pytest.mark.parametrize(
    "entry",
    [np.zeros((2, 2)), np.zeros((2, 3), dtype=np.float32), np.full((2, 3), np.nan), None],
    ids=["shape", "dtype", "nan", "missing"],
)
def test_foreign_numbers_are_made_anew(entry: np.ndarray | None, tmp_path: Path) -> None:
    make = Generator()
    good = load(tmp_path, make)
    settings = dict(np.load(path_in(tmp_path)))["settings"]
    if entry is None:
        np.savez(path_in(tmp_path), settings=settings)
    else:
        np.savez(path_in(tmp_path), settings=settings, u=entry)
    assert torch.equal(load(tmp_path, make), good)
    assert make.calls == 2


def test_a_directory_that_cannot_be_written_costs_a_warning_only(tmp_path: Path) -> None:
    (tmp_path / "physics").write_text("a file where a directory should be")
    with pytest.warns(UserWarning, match="cannot be written"):
        assert load(tmp_path, Generator()).shape == (2, 3)
