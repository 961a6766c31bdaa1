"""HEPMASS: simulated particle collisions, the signal at mass 1000 (UCI), 21 columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from symadj.data.maf.archive import raw_file
from symadj.data.maf.base import MAFData, write
from symadj.data.prepared import Meta, Splits
from symadj.errors import SymadjError

MOST_REPEATS = 5
READ_ROWS = 200_000


class Hepmass(MAFData):
    """HEPMASS: 315,123 / 35,013 / 174,987 rows of 21 standardised columns; see `preprocess`."""

    key = "hepmass"
    label = "HEPMASS"
    summary = "particle collisions with a signal, 21 standardised columns"

    @classmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Writes the splits of hepmass/1000_train.csv and 1000_test.csv."""
        train = read_signal(raw_file(root, "hepmass/1000_train.csv"))
        test = read_signal(raw_file(root, "hepmass/1000_test.csv"))
        splits, columns = preprocess(train, test)
        return write(directory, splits, columns)


def read_signal(path: Path) -> pd.DataFrame:
    """The rows with label 1 (signal, not background), without the label in their first column.

    Raises:
        SymadjError: the file is damaged.
    """
    try:
        # index_col=False: a surplus cell at a line's end must not shift the names.
        with pd.read_csv(path, index_col=False, chunksize=READ_ROWS) as parts:
            rows = pd.concat([part[part.iloc[:, 0] == 1] for part in parts], ignore_index=True)
    except (OSError, ValueError) as error:
        raise SymadjError(f"{path} cannot be read ({error}).") from error
    return rows.drop(columns=rows.columns[0])


def preprocess(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Splits, tuple[str, ...]]:
    """Make both files agree, standardise, drop features with repeated values, split.

    Source: gpapamak/maf, datasets/hepmass.py.

    Args:
        train, test: the signal rows without their label.

    Returns:
        The splits and the names of the features that are left.

    Raises:
        SymadjError: the two files have different features.
    """
    # The test file has a column more than the training file, its last (the mass).
    test = test.drop(columns=test.columns[-1])
    if list(test.columns) != list(train.columns):
        raise SymadjError(
            f"HEPMASS: the files' features differ: {list(train)} and {list(test)} (the test "
            "file's last column apart). It is not the archive's data."
        )
    # Mean and std (ddof 1) of the whole training file, validation rows included.
    mean, std = train.mean(), train.std()
    train_rows = ((train - mean) / std).to_numpy()
    test_rows = ((test - mean) / std).to_numpy()
    # A value that comes again and again is no draw of a density; judged by the smallest value.
    kept = np.flatnonzero((train_rows == train_rows.min(axis=0)).sum(axis=0) <= MOST_REPEATS)
    train_rows, test_rows = train_rows[:, kept], test_rows[:, kept]
    n_val = int(0.1 * len(train_rows))
    cut = len(train_rows) - n_val
    splits = Splits(train_rows[:cut], train_rows[cut:], test_rows)
    return splits, tuple(train.columns[kept])
