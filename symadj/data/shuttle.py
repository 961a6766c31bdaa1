"""SHUTTLE: sensor readings of a space shuttle (UCI Statlog), 49,097 rows of 9 whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from symadj.data.base import VectorData, split_sizes
from symadj.data.state import State
from symadj.errors import InputError
from symadj.packages import find_file, package_file
from symadj.ranges import require

FILE = ("datasets", "shuttle.csv.gz")
COLUMNS = tuple(f"f{i}" for i in range(1, 10))


class Shuttle(VectorData):
    """The nine readings, dequantised and standardised.

    Whole numbers have no density: every value gets noise U(0, 1), drawn once from the seed. Rows
    are then shuffled and split 80/10/10, and every column has the TRAINING split's mean taken off
    and is divided by its deviation (ddof 0). Some columns have tails of more than 100 deviations.

    The table comes with river (extra `tabular`), in the form of the ODDS benchmark without UCI's
    class 4; its anomaly label is left out. Nothing is downloaded.

    Args:
        seed: of noise and split.

    Raises:
        InputError: river is missing, or its table is another one.
    """

    def __init__(self, seed: int = 0) -> None:
        require("data", seed=seed)
        file = package_file("river", "tabular", *FILE)
        table = pd.read_csv(file)
        if not set(COLUMNS) <= set(table.columns):
            raise InputError(f"{file} has no columns f1 ... f9: pip install 'symadj[tabular]'")
        readings = torch.from_numpy(table[list(COLUMNS)].to_numpy(dtype=np.float64))
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand(readings.shape, generator=generator, dtype=readings.dtype)
        order = torch.randperm(len(readings), generator=generator)
        splits = (readings + noise)[order].split(split_sizes(len(readings)))
        mean, std = splits[0].mean(0), splits[0].std(0, correction=0)
        super().__init__(
            "SHUTTLE",
            *((rows - mean) / std for rows in splits),
            note="sensor readings of a space shuttle (UCI Statlog, river's copy), dequantised",
            columns=COLUMNS,
        )

    @classmethod
    def state(cls, root: Path) -> State:
        """Whether river is installed."""
        if find_file("river", *FILE):
            return State(True, "comes with river")
        return State(False, "river is not installed", todo="pip install 'symadj[tabular]'")
