"""GAS: readings of chemical sensors in mixtures of ethylene and CO (UCI), 8 columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from symadj.data.maf.archive import verified_file
from symadj.data.maf.base import MAFData, split_tail, write
from symadj.data.maf.pickle import read_frame
from symadj.data.prepared import Meta, Splits
from symadj.errors import SymadjError

NOT_SENSORS = ["Meth", "Eth", "Time"]
TOO_ALIKE = 0.98


class Gas(MAFData):
    """GAS: 852,174 / 94,685 / 105,206 rows of 8 standardised columns; see `preprocess`."""

    key = "gas"
    label = "GAS"
    summary = "readings of chemical sensors in gas mixtures, 8 standardised columns"

    @classmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Writes the splits of gas/ethylene_CO.pickle, opened only if it is what was unpacked."""
        frame = read_frame(verified_file(root, "gas/ethylene_CO.pickle"))
        if missing := [name for name in NOT_SENSORS if name not in frame.columns]:
            raise SymadjError(f"gas/ethylene_CO.pickle has no column {missing}: {list(frame)}.")
        splits, columns = preprocess(frame)
        return write(directory, splits, columns)


def preprocess(frame: pd.DataFrame) -> tuple[Splits, tuple[str, ...]]:
    """Drop what is no sensor, thin out like sensors, standardise ALL rows, split unshuffled.

    While any two columns correlate by more than 0.98, the first column that has such a partner is
    dropped and the correlations are looked at anew. Standardised with mean and std (ddof 1) of all
    rows, the test rows included, as the published results are.

    Source: gpapamak/maf, datasets/gas.py.

    Args:
        frame: the pickled table: Time, Meth, Eth and the sensors.

    Returns:
        The splits and the names of the sensors that are left.
    """
    data = frame.drop(columns=NOT_SENSORS)
    while (alike := _partners(data) > 0).any():
        data = data.drop(columns=data.columns[np.flatnonzero(alike)[0]])
    standardised = (data - data.mean()) / data.std()
    return split_tail(standardised.to_numpy()), tuple(data.columns)


def _partners(data: pd.DataFrame) -> np.ndarray:
    """For each column, how many others correlate with it by more than the bound."""
    return (data.corr().to_numpy() > TOO_ALIKE).sum(axis=1) - 1
