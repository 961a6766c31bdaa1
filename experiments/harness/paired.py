"""Comparisons at the same seed: differences between methods, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from symadj.report.frames import numbers, where
from symadj.report.names import MISSING


def differences(
    runs: pd.DataFrame, value: str, to: str, by: str = "grad", pairs: Sequence[str] = ("seed",)
) -> pd.DataFrame:
    """The value of every method less that of another one, at the same seed.

    Args:
        runs: records, as `Results.runs`; those that failed take no part.
        value: a numeric column.
        to: the method that the others are compared with.
        by: the column that names the methods.
        pairs: columns that make a pair: the seed, the tolerance, ...

    Returns:
        A row for every pair and a column for every method, NaN where one of the two is missing.
    """
    good = where(runs, runs["status"] == "ok")
    values = good.assign(_value=numbers(good[value]))
    table = values.pivot_table(index=list(pairs), columns=by, values="_value", aggfunc="mean")
    if to not in table:
        return table * np.nan
    return table.sub(table[to], axis=0)


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """A bootstrap interval (percentile, 9,999 resamples) of the mean; NaN for fewer than two.

    Values that are not finite are left out.
    """
    kept = np.asarray([v for v in values if np.isfinite(v)], dtype=float)
    if len(kept) < 2:
        return float("nan"), float("nan")
    if np.ptp(kept) == 0:
        return float(kept[0]), float(kept[0])
    found = bootstrap(
        (kept,),
        np.mean,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def mean_with_interval(values: Sequence[float], digits: int = 3) -> str:
    """ "mean [low, high]", the interval as `interval` has it; a dash where there is no value."""
    kept = [v for v in values if np.isfinite(v)]
    if not kept:
        return MISSING
    mean = f"{float(np.mean(kept)):.{digits}g}"
    low, high = interval(kept)
    return mean if np.isnan(low) else f"{mean} [{low:.{digits}g}, {high:.{digits}g}]"
