"""POWER: electric power consumption of a household (UCI), 6 columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from symadj.data.maf.archive import raw_file
from symadj.data.maf.base import MAFData, load_array, split_tail, standardise, write
from symadj.data.prepared import Meta, Splits

RAW_COLUMNS = 8
COLUMNS = ("active power", "voltage", "sub-meter 1", "sub-meter 2", "sub-meter 3", "time")


class Power(MAFData):
    """POWER: 1,659,917 / 184,435 / 204,928 rows of 6 standardised columns; see `preprocess`."""

    key = "power"
    label = "POWER"
    summary = "electric power consumption of a household, 6 standardised columns"

    @classmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Writes the splits of power/data.npy."""
        raw = load_array(raw_file(root, "power/data.npy"), RAW_COLUMNS)
        return write(directory, preprocess(raw), COLUMNS)


def preprocess(raw: NDArray[np.float64]) -> Splits:
    """Shuffle, drop two columns, dequantise, split, standardise.

    The meters report in steps; noise as wide as a step makes a density of them. Shuffle and noise
    come from one generator, whose stream NumPy keeps fixed.

    Source: gpapamak/maf, datasets/power.py.

    Args:
        raw: [rows, 8]: active power, reactive power, voltage, intensity, three sub-meters, time.
    """
    rng = np.random.RandomState(42)
    data = raw.copy()
    rng.shuffle(data)
    # Intensity is the ratio of power and voltage; reactive power repeats too many values.
    data = np.delete(data, 3, axis=1)
    data = np.delete(data, 1, axis=1)
    n = len(data)
    # The order of the draws is part of the set: voltage, active power, sub-meters.
    voltage = 0.01 * rng.rand(n, 1)
    active_power = 0.001 * rng.rand(n, 1)
    sub_meters = rng.rand(n, 3)
    time = np.zeros((n, 1))
    data += np.hstack((active_power, voltage, sub_meters, time))
    return standardise(split_tail(data))
