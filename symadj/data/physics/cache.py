"""Generated trajectories on disk, so that they are integrated once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from symadj.data.directory import data_dir
from symadj.data.physics.npz import BrokenArchive, read_npz
from symadj.files import write_atomically
from symadj.warn import warn

Settings = Mapping[str, str | int | float]


def cached_trajectories(
    stem: str,
    settings: Settings,
    shape: tuple[int, ...],
    make: Callable[[], Tensor],
    directory: str | Path | None = None,
) -> Tensor:
    """The trajectories from the cache where they are there and whole, else made and kept.

    The file holds the settings beside the numbers. One that is torn, that was made with other
    settings, or that holds anything but finite float64 numbers of this shape is made anew.

    Args:
        stem: of the file's name; it should have the generator's version in it.
        settings: everything that the numbers depend on, the version included.
        shape: of the trajectories.
        make: generates them, float64.
        directory: where the cache is; None: see `symadj.data.directory.data_dir`.

    Raises:
        InputError: the directory is none.
    """
    path = data_dir(directory) / "physics" / f"{stem}.npz"
    key = json.dumps(dict(settings), sort_keys=True)
    found = _read(path, key, shape)
    if found is None:
        found = make().to(torch.float64).numpy()
        assert found.shape == shape
        _write(path, key, found)
    return torch.from_numpy(found)


def _read(path: Path, key: str, shape: tuple[int, ...]) -> np.ndarray | None:
    """The numbers of a file that is whole and was made with these settings, else None."""
    try:
        found = read_npz(path)
    except (OSError, BrokenArchive):
        return None
    if found.keys() != {"settings", "u"} or str(found["settings"]) != key:
        return None
    u = found["u"]
    if u.shape != shape or u.dtype != np.float64 or not np.isfinite(u).all():
        return None
    return u


def _write(path: Path, key: str, u: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.savez(file, u=u, settings=np.array(key)))
    except OSError as error:
        warn(
            f"{path} cannot be written ({error.strerror or error}), so the trajectories will be "
            "generated again next time; set SYMADJ_DATA to a directory that you may write to."
        )
