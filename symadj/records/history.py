"""history.csv: one row per training iteration, on disk before the checkpoint that counts on it."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO

import pandas as pd

from symadj.errors import InputError
from symadj.files import open_file, unwritable, write_text
from symadj.ode.stats import SolveStats

_HEAD = ("iteration", "wall", "loss", "seconds")
_COUNTS = ("forward", "recomputed", "with_graph", "vjps", "accepted", "rejected")
_VALIDATION = len(_HEAD) + len(_COUNTS) + 1
_LEAST = _VALIDATION + 2
"""Columns of a history that tracks nothing besides."""
_LONGEST = 4096
"""Characters of a row, and more."""


def columns(monitor: str, tracked: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of a history whose task is validated by `monitor` ("nll").

    Args:
        monitor: of the task.
        tracked: further metrics of a validation, in columns of their names.
    """
    return (*_HEAD, *_COUNTS, "lr", f"val_{monitor}", "memory_bytes", *tracked)


@dataclass
class Row:
    """One iteration.

    Attributes:
        iteration: counted from 1.
        wall: seconds since the training began, validation included.
        loss: of the batch.
        seconds: of forward, backward and optimizer; NaN where metered (an empty cell).
        stats: what the solves of the iteration counted, forward and backward.
        lr: learning rate of the step.
        validation: the task's monitor, where validated after this iteration.
        memory_bytes: peak above what lived before the step, where metered.
        tracked: what the task tracks besides, where validated; empty elsewhere.
    """

    iteration: int
    wall: float
    loss: float
    seconds: float
    stats: SolveStats
    lr: float
    validation: float | None = None
    memory_bytes: int | None = None
    tracked: Sequence[float] = ()

    def cells(self) -> list[str]:
        """The row's texts; `repr` of a float reads back as the same float, bit for bit."""
        counts = [str(getattr(self.stats, name)) for name in _COUNTS]
        optional = [self.validation, self.memory_bytes]
        return [
            str(self.iteration),
            f"{self.wall:.4f}",
            repr(self.loss),
            "" if math.isnan(self.seconds) else f"{self.seconds:.6f}",
            *counts,
            repr(self.lr),
            *("" if value is None else repr(value) for value in optional),
            *map(repr, self.tracked),
        ]


class History:
    """The rows of a training, in memory at first and in its file from `commit` on.

    The file of an earlier sitting stays as it is until then.

    Args:
        path: the file.
        monitor: name of the task's validation metric.
        keep: rows of the file up to this iteration are kept, later ones dropped: a resumed run
            makes again what came after its checkpoint.
        tracked: names of its further metrics.

    Attributes:
        missing: iterations up to `keep` that the file has no row of.

    Raises:
        InputError: a history to be kept that cannot be read.
    """

    def __init__(
        self, path: Path, monitor: str, keep: int = 0, tracked: Sequence[str] = ()
    ) -> None:
        self._path = path
        self._columns = columns(monitor, tracked)
        self._rows = _rows_up_to(path, keep, len(self._columns)) if keep else {}
        self.missing = [i for i in range(1, keep + 1) if i not in self._rows]
        self._file: IO[str] | None = None

    def append(self, row: Row) -> None:
        """Adds a row; once there is a file, it is written through to it.

        Raises:
            StorageError: it cannot be written.
        """
        if self._file is None:
            self._rows[row.iteration] = _fitted(row.cells(), len(self._columns))
        else:
            self._through(_text([_fitted(row.cells(), len(self._columns))]))

    def validated(self, iteration: int, metric: float, tracked: Sequence[float] = ()) -> None:
        """Adds the metrics of a validation that came later than its iteration's row."""
        if self._file is not None:
            self.close()
            self._rows = _rows_up_to(self._path, iteration, len(self._columns))
        if iteration in self._rows:
            cells = self._rows[iteration]
            cells[_VALIDATION] = repr(metric)
            cells[_LEAST:] = _fitted([*map(repr, tracked)], len(cells) - _LEAST)

    def commit(self) -> None:
        """Returns when all rows are on disk, to stay there whatever happens to the process.

        Raises:
            StorageError: they cannot be written; the file of before is whole.
        """
        if self._file is None:
            write_text(self._path, _text([self._columns, *self._rows.values()]))
            try:
                self._file = open_file(self._path, "a", newline="")
            except OSError as error:
                raise unwritable(self._path, error) from error
            self._rows = {}
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise unwritable(self._path, error) from error

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _through(self, text: str) -> None:
        assert self._file is not None
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error


def _text(rows: list[list[str]] | list[tuple[str, ...] | list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _fitted(cells: list[str], width: int) -> list[str]:
    """Cells of so many columns: empty ones added, or the last ones left out."""
    return [*cells[:width], *[""] * (width - len(cells))]


def _rows_up_to(path: Path, last: int, width: int) -> dict[int, list[str]]:
    """The whole rows of iterations up to `last`, by iteration, in their order.

    A row that a kill or a full disk cut off is shorter than the head and is no row. An earlier
    sitting may have tracked more or fewer metrics than this one, whose rows have `width` cells. Of
    a file that no run has written not more is read than such a history can be long.
    """
    try:
        with open_file(path, newline="") as file:
            lines = islice(iter(partial(file.readline, _LONGEST), ""), 2 * last + 1000)
            cells = csv.reader(lines)
            whole = max(len(next(cells, [])), _LEAST)
            rows = [row for row in cells if len(row) == whole and row[0].isdecimal()]
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read, so the run cannot go on ({error}).") from error
    kept = [row for row in rows if int(row[0][:20]) <= last]
    found = {int(row[0]): _fitted(row, width) for row in kept}
    return dict(sorted(found.items()))


def read_history(path: Path) -> pd.DataFrame:
    """A history as a table, without a last row that was cut off.

    Raises:
        InputError: no history there, or a file that is none.
    """
    try:
        with open_file(path) as file:
            table = pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no history ({error}).") from error
    if "iteration" not in table or "loss" not in table:
        raise InputError(f"{path} is no history: no columns iteration and loss.")
    return table.dropna(subset=["iteration", "wall", "loss", "lr"], how="any")
