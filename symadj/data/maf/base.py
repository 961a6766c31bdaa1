"""What the five sets share: found in the archive, prepared once, read from disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from symadj.data.directory import data_dir
from symadj.data.maf import archive
from symadj.data.prepared import (
    Meta,
    PreparedData,
    Splits,
    is_prepared,
    prepare,
    prepared_path,
    write_splits,
)
from symadj.data.state import State, prepared_state
from symadj.errors import InputError


class MAFData(PreparedData, ABC):
    """A set of the MAF archive; the subclass says how its raw file becomes three splits.

    The first use prepares it (`symadj-data prepare NAME` does it beforehand).

    Args:
        data_dir: the data directory; None: SYMADJ_DATA, else ~/.cache/symadj.

    Attributes:
        key: its name in the configurations.
        label: its name in tables.
        version: of the preparation.
        summary: one line on what the data are.

    Raises:
        InputError: the archive has not been fetched, or the prepared files are damaged.
        SymadjError: a file of the archive cannot be read or prepared.
    """

    key: ClassVar[str]
    label: ClassVar[str]
    version: ClassVar[int] = 1
    summary: ClassVar[str]

    def __init__(self, data_dir: str | None = None) -> None:
        super().__init__(
            self.label, self.prepare(data_dir), note=f"{self.summary}, of the MAF archive"
        )

    @classmethod
    def prepare(cls, override: str | Path | None = None) -> Path:
        """Prepares the set where that has not been done; returns its directory."""
        root = data_dir(override)
        if not is_prepared(cls._path(root)):
            archive.require(root)
        return prepare(cls._path(root), lambda directory: cls.make(root, directory))

    @classmethod
    def state(cls, root: Path) -> State:
        """What is there of the set, and what to do next."""
        if archive.is_fetched(root):
            return prepared_state(
                cls._path(root), "archive fetched", f"symadj-data prepare {cls.key}"
            )
        return prepared_state(cls._path(root), "not fetched", archive.COMMAND)

    @classmethod
    @abstractmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Writes the three splits, made from the archive's files below root, into directory."""

    @classmethod
    def _path(cls, root: Path) -> Path:
        return prepared_path(root, cls.key, cls.version)


def write(directory: Path, splits: Splits, columns: tuple[str, ...] = ()) -> Meta:
    """Writes the splits; returns what the set says of itself."""
    write_splits(directory, splits)
    return Meta(columns)


def split_tail(rows: NDArray[Any]) -> Splits:
    """Test = the last int(10%) of the rows; validation = the last int(10%) of what is left."""
    n_test = int(0.1 * len(rows))
    rest, test = rows[: len(rows) - n_test], rows[len(rows) - n_test :]
    n_val = int(0.1 * len(rest))
    return Splits(rest[: len(rest) - n_val], rest[len(rest) - n_val :], test)


def standardise(splits: Splits) -> Splits:
    """(x - mean) / std, per column, with mean and std (ddof 0) of training and validation rows."""
    seen = np.vstack((splits.train, splits.val))
    mean, std = seen.mean(axis=0), seen.std(axis=0)
    return Splits(*((rows - mean) / std for rows in splits))


def load_array(path: Path, columns: int) -> NDArray[np.float64]:
    """A .npy file of the archive as float64 [rows, columns].

    Raises:
        InputError: it holds something else.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from error
    if array.ndim != 2 or array.shape[1] != columns or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds {array.dtype} {array.shape}; {columns} columns of numbers are needed. "
            f"It is not the archive's: remove {path.parent.parent} and run `{archive.COMMAND}`."
        )
    return array.astype(np.float64)
