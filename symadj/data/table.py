"""The user's own table, from a CSV or NumPy file, checked before anything is trained on it."""

from __future__ import annotations

import csv
import itertools
import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from symadj.data.base import VectorData, split_rows, split_sizes
from symadj.data.physics.npz import check_claim
from symadj.errors import InputError, suggest
from symadj.memory import require_memory
from symadj.ranges import require

MIN_ROWS = 10
MOST_LISTED = 10
MOST_COLUMNS = 10_000
MOST_CLASSES = 1_000


class Table(VectorData):
    """The numeric columns of a file, standardised.

    Rows are shuffled by the seed and split 80/10/10; every column then has the TRAINING split's
    mean taken off and is divided by its deviation (ddof 0), so that nothing of the validation and
    test rows enters. Densities are those of the standardised columns; `log_scale` takes them back
    to the file's units.

    Args:
        path: of a .csv file (commas; a first line of names, or none) or a .npy file (a
            two-dimensional array of real numbers). Every row must be complete.
        seed: of the split.
        header: whether the first line of a .csv file holds the columns' names; None: it does where
            a cell is no number, or where the cells count the columns from 0.
        label: the name of the column that holds the rows' classes, whole numbers, and is no part of
            the vectors; its values in rising order are the classes 0, 1, ... None: there are none.

    Attributes:
        mean, std: of the training split's columns, [dim].
        file: what was read.
        log_scale: sum of log std: log p in the file's units is log p minus this.

    Raises:
        InputError: a file that is missing, unreadable, empty, too short or too large, a first line
            that may be names or values, text columns, missing or infinite values, columns that are
            constant, or a label that is no column of classes.
    """

    def __init__(
        self, path: str, seed: int = 0, header: bool | None = None, label: str | None = None
    ) -> None:
        require("data", seed=seed)
        values, columns = read_table(path, header)
        _check_rows(values, path)
        _check_values(values, path)
        kinds, classes = None, np.array([])
        if label is not None:
            values, columns, kinds = _without(label, values, columns, path)
            classes, kinds = np.unique(kinds, return_inverse=True)
        splits = split_rows(torch.from_numpy(values), seed)
        train = splits[0]
        self.mean, self.std = train.mean(0), train.std(0, correction=0)
        _check_spread(train.numpy(), self.std.numpy(), columns, path)
        self.log_scale = float(self.std.log().sum())
        name = Path(path).name
        note = (
            f"{name}: {len(values)} rows, {len(columns)} standardised columns; for the file's "
            f"units add {self.log_scale:.6g} to an NLL in nats"
        )
        if kinds is not None:
            found = _listed([f"{value:g}" for value in classes])
            note += f"; {len(classes)} classes, the values {found} of {label!r}"
        standardised = [(split - self.mean) / self.std for split in splits]
        super().__init__(Path(path).stem, *standardised, note=note, columns=columns)
        self.file = Path(path).expanduser()
        if kinds is not None:
            self.set_labels(*split_rows(torch.from_numpy(kinds), seed))


def read_table(path: str, header: bool | None = None) -> tuple[NDArray[np.float64], list[str]]:
    """The values [rows, columns] of a .csv or .npy file and the columns' names.

    Args:
        path, header: as `Table` has them.

    Raises:
        InputError: as `Table`, but for what concerns the values themselves.
    """
    file = Path(path).expanduser()
    readers = {".csv": lambda file: _read_csv(file, header), ".npy": _read_npy}
    if not file.exists():
        raise InputError(f"path={path}: no such file (looked for {file.absolute()}).")
    if not file.is_file():
        raise InputError(f"path={path} is no file; give a .csv or .npy file.")
    if file.suffix.lower() not in readers:
        raise InputError(
            f"path={path}: unknown kind of file {file.suffix!r}. Allowed: .csv (comma separated, "
            "one row a line) and .npy (a two-dimensional array saved by numpy.save)."
        )
    try:
        if file.stat().st_size == 0:
            raise InputError(f"{path} is empty; a table with at least {MIN_ROWS} rows is needed.")
        return readers[file.suffix.lower()](file)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _read_csv(path: Path, header: bool | None) -> tuple[NDArray[np.float64], list[str]]:
    try:
        first, second = _first_rows(path)
        _check_columns(len(first), path)
        # The cells as texts and as numbers.
        require_memory(2 * path.stat().st_size, f"data.path={path}", "take fewer rows")
        named = _names_columns(first, second, path) if header is None else header
        frame = pd.read_csv(path, header=0 if named else None, low_memory=False)
    except pd.errors.EmptyDataError:
        raise InputError(f"{path} is empty; at least {MIN_ROWS} rows are needed.") from None
    except (pd.errors.ParserError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} cannot be read as a CSV file: {str(error).strip()}. Needed: UTF-8, commas, "
            "as many cells in every line."
        ) from error
    frame.columns = [str(c) if named else f"column {i + 1}" for i, c in enumerate(frame.columns)]
    _check_header(frame, path)
    _check_numeric(frame, path)
    return frame.to_numpy(dtype=np.float64, copy=True), list(frame.columns)


def _first_rows(path: Path) -> tuple[list[str], list[str]]:
    """The cells of the first two lines that are not blank; of those that there are."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = ([cell.strip() for cell in row] for row in csv.reader(file))
        filled = (row for row in rows if any(row))
        return next(filled, []), next(filled, [])


def _check_columns(count: int, path: Path) -> None:
    if count > MOST_COLUMNS:
        raise InputError(
            f"{path} has {count:,} columns; at most {MOST_COLUMNS:,} can be used. (One row a line: "
            "is the table transposed?)"
        )


def _names_columns(first: Sequence[str], second: Sequence[str], path: Path) -> bool:
    """Whether a first row holds names instead of values: texts, or the column numbers 0, 1, 2, ...

    Args:
        first: its cells.
        second: those of the row below.
        path: of the file.

    Raises:
        InputError: a cell is blank, so that a name or a value is missing; or all are numbers that
            may well be names: whole ones that rise by the same step from column to column, or
            whole ones above values that are not.
    """
    blank = [f"column {i + 1}" for i, cell in enumerate(first) if not cell]
    if blank:
        raise InputError(
            f"{path}: the first line leaves {_listed(blank)} blank, where a name or a value must "
            "be. (A row index that pandas wrote has no name: save with index=False.)"
        )
    if not all(_is_number(cell) for cell in first):
        return True
    if len(first) < 2 or not all(map(_is_whole, first)):
        return False
    numbers = [int(cell) for cell in first]
    if numbers == list(range(len(first))):
        return True
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    counts = len(first) > 2 and len(steps) == 1 and steps != {0}
    if counts or not all(map(_is_whole, second)):
        raise InputError(
            f"{path}: the first line ({_listed(list(first))}) may hold names or values; say "
            "data.header=true (names) or data.header=false (values)."
        )
    return False


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"[+-]?[0-9]{1,18}", cell) is not None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _check_header(frame: pd.DataFrame, path: Path) -> None:
    # pandas takes surplus cells in every row as an index and shifts the names by as many columns.
    if not isinstance(frame.index, pd.RangeIndex):
        raise InputError(
            f"{path}: the rows have more cells than the first line has names "
            f"({len(frame.columns)}). Give every column a name, or none."
        )


def _check_numeric(frame: pd.DataFrame, path: Path) -> None:
    bad = [_describe_text(frame[name]) for name in frame.columns if not _numeric(frame[name])]
    if bad and len(frame):
        raise InputError(
            f"{path}: {_count(bad, 'column')} not numeric: {_listed(bad)}. Remove such columns or "
            "replace the texts by numbers."
        )


def _numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _describe_text(column: pd.Series) -> str:
    """The column's name and its first cell that is neither a number nor missing."""
    cells = ((row, str(cell)) for row, cell in enumerate(column, 1) if not pd.isna(cell))
    example = next(((row, cell) for row, cell in cells if not _is_number(cell)), None)
    where = f" ({example[1]!r} in row {example[0]})" if example else ""
    return f"{column.name!r}{where}"


def _read_npy(path: Path) -> tuple[NDArray[np.float64], list[str]]:
    try:
        check_claim(path)
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, MemoryError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} is no whole array of numbers as numpy.save writes it: it is damaged, of "
            "another kind, or holds Python objects, which are not opened."
        ) from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path} is an archive of arrays; save the one array with numpy.save.")
    if array.dtype.kind not in "iuf":
        raise InputError(
            f"{path} has dtype {array.dtype}; allowed are real numbers (float or integer)."
        )
    if array.ndim != 2:
        raise InputError(
            f"{path} has shape {array.shape}; a table has two dimensions, [rows, columns]."
        )
    _check_columns(array.shape[1], path)
    names = [f"column {i + 1}" for i in range(array.shape[1])]
    return array.astype(np.float64), names


def _check_rows(values: NDArray[np.float64], path: str) -> None:
    rows, columns = values.shape
    if rows == 0 or columns == 0:
        raise InputError(
            f"{path} is empty ({rows} rows, {columns} columns); at least {MIN_ROWS} rows are "
            "needed."
        )
    if rows < MIN_ROWS:
        parts = " and ".join(f"{size}" for size in split_sizes(MIN_ROWS)[1:])
        raise InputError(
            f"{path} has {rows} row{'s' if rows > 1 else ''}; at least {MIN_ROWS} are needed, so "
            f"that {parts} are left for validation and test."
        )


def _check_values(values: NDArray[np.float64], path: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1)) + 1
    if bad.size:
        raise InputError(
            f"{path}: {_count(bad, 'row')} of {len(values)} with missing, NaN or infinite values: "
            f"{_listed([str(row) for row in bad])} (the first row of data is 1). Remove or fill "
            "them."
        )


def _without(
    label: str, values: NDArray[np.float64], columns: list[str], path: str
) -> tuple[NDArray[np.float64], list[str], NDArray[np.float64]]:
    """Values and columns without that of the classes, and the classes [rows]."""
    if label not in columns:
        raise InputError(f"label={label}: {path} has no such column.{suggest(label, columns)}")
    if len(columns) == 1:
        raise InputError(f"label={label}: {path} has no other column to learn.")
    i = columns.index(label)
    kinds = values[:, i]
    if (kinds % 1).any() or len(np.unique(kinds)) > MOST_CLASSES:
        raise InputError(
            f"label={label}: that column of {path} holds {len(np.unique(kinds)):,} different "
            f"values, {kinds.min():g} to {kinds.max():g}; classes are at most {MOST_CLASSES:,} "
            "different whole numbers."
        )
    return np.delete(values, i, axis=1), columns[:i] + columns[i + 1 :], kinds


def _check_spread(
    train: NDArray[np.float64], std: NDArray[np.float64], columns: Sequence[str], path: str
) -> None:
    # Compared by value: the deviation of equal numbers need not come out as exactly 0.
    constant = [repr(c) for c, v in zip(columns, train.T, strict=True) if v.min() == v.max()]
    if constant:
        raise InputError(
            f"{path}: {_count(constant, 'column')} constant in the training split, so that no "
            f"density exists: {_listed(constant)}. Remove them."
        )
    extreme = [
        repr(c) for c, s in zip(columns, std, strict=True) if not (s > 0 and math.isfinite(s))
    ]
    if extreme:
        raise InputError(
            f"{path}: {_count(extreme, 'column')} whose deviation cannot be represented: "
            f"{_listed(extreme)}. Rescale them."
        )


def _count(items: Sequence[object] | NDArray[np.intp], what: str) -> str:
    return f"{len(items)} {what}{'' if len(items) == 1 else 's'}"


def _listed(items: Sequence[str]) -> str:
    more = len(items) - MOST_LISTED
    return ", ".join(items[:MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
