"""The few things that every reader of a frame of runs does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd


def where(frame: pd.DataFrame, mask: pd.Series) -> pd.DataFrame:
    """The rows for which the mask holds."""
    return pd.DataFrame(frame.loc[mask.astype(bool)])


def part(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The columns of these names."""
    return pd.DataFrame(frame.loc[:, list(columns)])


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """The column of this name; all missing where the frame has none."""
    if name not in frame:
        return pd.Series(np.nan, index=frame.index, dtype=float)
    return pd.Series(frame[name])


def numbers(values: pd.Series) -> pd.Series:
    """The values as floats; what is no number is missing."""
    return pd.Series(pd.to_numeric(values, errors="coerce"), index=values.index, dtype=float)
