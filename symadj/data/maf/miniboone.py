"""MINIBOONE: neutrino events of the MiniBooNE experiment (UCI), 43 columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symadj.data.maf.archive import raw_file
from symadj.data.maf.base import MAFData, load_array, split_tail, standardise, write
from symadj.data.prepared import Meta, Splits

COLUMNS = 43


class Miniboone(MAFData):
    """MINIBOONE: 29,556 / 3,284 / 3,648 rows of 43 standardised columns; see `preprocess`."""

    key = "miniboone"
    label = "MINIBOONE"
    summary = "neutrino events, 43 standardised columns"

    @classmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Writes the splits of miniboone/data.npy."""
        return write(
            directory, preprocess(load_array(raw_file(root, "miniboone/data.npy"), COLUMNS))
        )


def preprocess(raw: NDArray[np.float64]) -> Splits:
    """Split unshuffled, then standardise.

    The archive's array is cleaned already: signal events only, without the outliers of -1000 and
    without the features of often repeated values.

    Source: gpapamak/maf, datasets/miniboone.py.

    Args:
        raw: [rows, 43].
    """
    return standardise(split_tail(raw))
