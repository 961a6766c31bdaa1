"""Runs -> table: a DataFrame in, a DataFrame out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from symadj.config.schema import role
from symadj.errors import InputError
from symadj.records.status import Status
from symadj.report.cell import Cell
from symadj.report.frames import numbers, part, where
from symadj.report.names import Quantity, labels, ordered, resolve, text_of

_NAMES = ("grad", "solver", "data.name", "model.name", "seed")


def pivot(
    runs: pd.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[str | Quantity],
    *,
    quartiles: bool = False,
    counts: bool = True,
) -> pd.DataFrame:
    """Gathers runs by rows and columns; each cell is the mean over the runs that meet there.

    Args:
        runs: as `symadj.report.load.load_runs` gives it.
        rows: what a row is for: short names or dotted keys, see `symadj.report.names.resolve`.
        columns: likewise; may be empty.
        cells: what stands in the cells: likewise, or quantities as they are.
        quartiles: a time of a single run has the quartiles of its iterations beside it.
        counts: whether each cell says over how many runs it goes (failures it always says).

    Returns:
        A table of `Cell`: `str(cell)` is "1.23 ± 0.04 (n=2, 1 OOM)". A run that failed counts with
        its failure only, whatever it had measured by then. Columns are levels for `columns` and
        one for the cell's header, which has its unit ("memory (MiB)").

    Raises:
        InputError: an unknown name, no rows or cells asked for, or no runs.
    """
    _check(runs, rows, cells)
    quantities = [resolve(name, runs) for name in cells]
    runs = runs.reset_index(drop=True)
    at: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
    for i, key in enumerate(zip(labels(runs, rows), labels(runs, columns), strict=True)):
        at.setdefault(key, []).append(i)
    row_labels = ordered({row for row, _ in at})
    column_labels = ordered({column for _, column in at})
    table = {
        (*column, quantity.header): [
            _cell(runs.iloc[at.get((row, column), [])], quantity, quartiles, counts)
            for row in row_labels
        ]
        for column in column_labels
        for quantity in quantities
    }
    return _framed(table, row_labels, rows, columns)


def side_by_side(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables of `pivot` for the same names of rows as one, with the rows of all of them.

    So quantities that come from different runs, each with its own failures, stand in one table.
    """
    whole = pd.concat(list(tables), axis=1)
    names = list(whole.index.names)
    whole.index = pd.MultiIndex.from_tuples(
        [row if isinstance(row, tuple) else (row,) for row in whole.index], names=names
    )
    whole = whole.loc[ordered(set(whole.index))]
    if len(names) == 1:
        whole.index = whole.index.get_level_values(0)
    return whole.map(lambda cell: cell if isinstance(cell, Cell) else Cell())


def best(table: pd.DataFrame) -> pd.DataFrame:
    """Marks, with True, the best cell of each column (several where means agree in four digits).

    A cell in which runs failed takes no part: its mean is that of the survivors. Where only one
    row could be best of one, none is.
    """
    marks = [_best_of(list(table.iloc[:, i])) for i in range(table.shape[1])]
    return pd.DataFrame(dict(enumerate(marks)), index=table.index).set_axis(table.columns, axis=1)


def latest(runs: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Leaves out trainings that were run again: same configuration, same seed.

    Of each such group one run stays: the one that succeeded last, or else the one that failed
    last. Repeated benchmarks are all kept, since a time measured again is a further sample.

    Returns:
        The runs that stay, and how many do not.
    """
    if runs.empty:
        return runs, 0
    order = pd.DataFrame({"ok": runs["status"] == "ok", "when": _finished(runs)})
    order = order.sort_values(["ok", "when"], kind="stable", na_position="first")
    identity = _texts(part(runs, [*_settings(runs), "kind", *_NAMES]))
    identity["path"] = runs["path"].where(runs["kind"] != "train", "")
    stay = ~identity.loc[order.index].duplicated(keep="last")
    kept = where(runs, stay.reindex(runs.index))
    return kept, len(runs) - len(kept)


def differing(runs: pd.DataFrame, rows: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The settings, seeds aside, in which runs of one and the same cell differ.

    Where there are any, a mean is not one over seeds alone, and the table lacks a row or column.
    """
    pairs = zip(labels(runs, rows), labels(runs, columns), strict=True)
    cell = pd.Series([str(pair) for pair in pairs], index=runs.index)
    settings = [name for name in _settings(runs) if not name.endswith("seed")]
    distinct = _texts(part(runs, settings)).groupby(cell).nunique()
    return sorted(name for name in settings if distinct[name].gt(1).any())


def _settings(runs: pd.DataFrame) -> list[str]:
    """The columns of the settings that make other experiments of two runs."""
    names = [str(name) for name in runs.columns if str(name).startswith("config.")]
    return [name for name in names if role(name.removeprefix("config.")).tells_runs_apart]


def _texts(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: frame[name].map(text_of) for name in frame}, index=frame.index)


def _check(runs: pd.DataFrame, rows: Sequence[str], cells: Sequence[str | Quantity]) -> None:
    if runs.empty:
        raise InputError("no records to make a table of.")
    if not rows or not cells:
        raise InputError("a table needs at least one name for its rows and one for its cells.")


def _cell(runs: pd.DataFrame, quantity: Quantity, quartiles: bool, counts: bool) -> Cell:
    values = quantity.values(runs)
    if not quantity.numeric:
        distinct = ordered({(text_of(value),) for value in values.dropna()})
        return Cell(word=", ".join(text for (text,) in distinct))
    failed = runs["status"] != "ok"
    good = numbers(values).mask(failed).dropna()
    failures = _failures(runs, int(np.isinf(good).sum()))
    good = good[np.isfinite(good)]
    if good.empty:
        return Cell(failures=failures)
    return Cell(
        mean=float(good.mean()),
        std=float(good.std()) if len(good) > 1 else None,
        n=len(good),
        quartiles=_quartiles(runs.loc[good.index], quantity) if quartiles else None,
        failures=failures,
        lower_is_better=quantity.lower_is_better,
        counts=counts,
    )


def _failures(runs: pd.DataFrame, infinite: int) -> tuple[tuple[str, int], ...]:
    """What failed, and how often; a run that ended well with an infinite value is one of them."""
    words = [*map(str, runs["failure"]), *[Status.NONFINITE.text] * infinite]
    return tuple(sorted(Counter(filter(None, words)).items()))


def _quartiles(runs: pd.DataFrame, quantity: Quantity) -> tuple[float, float] | None:
    if quantity.quartiles is None or len(runs) != 1:
        return None
    if not set(quantity.quartiles) <= set(runs.columns):
        return None
    low, high = (float(runs[name].iloc[0]) for name in quantity.quartiles)
    return (low, high) if low <= high else None


def _framed(
    table: dict[tuple[str, ...], list[Cell]],
    row_labels: list[tuple[str, ...]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(row_labels, names=list(rows))
    header = pd.MultiIndex.from_tuples(list(table), names=[*columns, None])
    frame = pd.DataFrame(dict(enumerate(table.values())), index=index, dtype=object)
    frame.columns = header
    if len(rows) == 1:
        frame.index = index.get_level_values(0)
    if not columns:
        frame.columns = header.get_level_values(0)
    return frame


def _best_of(column: list[object]) -> list[bool]:
    means = [
        cell.mean
        if isinstance(cell, Cell) and not cell.failures and cell.lower_is_better is not None
        else None
        for cell in column
    ]
    # Digits that a table does not show make no cell better than another.
    means = [None if mean is None else float(f"{mean:.4g}") for mean in means]
    known = [mean for mean in means if mean is not None]
    # Equal in all rows that have a number: none of these is better than another.
    if len(column) < 2 or not known or (len(known) > 1 and len(set(known)) == 1):
        return [False] * len(column)
    first = next(cell for cell, mean in zip(column, means, strict=True) if mean is not None)
    top = min(known) if getattr(first, "lower_is_better", True) else max(known)
    return [mean == top for mean in means]


def _finished(runs: pd.DataFrame) -> pd.Series:
    finished = runs["finished"] if "finished" in runs else pd.Series(None, index=runs.index)
    return pd.to_datetime(finished, utc=True, errors="coerce", format="ISO8601")
