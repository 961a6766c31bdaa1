"""history.csv: one row per training iteration, on disk as soon as the iteration is done."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from symadj.errors import InputError
from symadj.ode.stats import SolveStats

_COUNTS = ("forward", "recomputed", "with_graph", "vjps", "accepted", "rejected")


def columns(monitor: str) -> tuple[str, ...]:
    """The columns of a history whose task is validated by `monitor` ("nll")."""
    head = ("iteration", "wall", "loss", "seconds")
    return (*head, *_COUNTS, "lr", f"val_{monitor}", "memory_bytes")


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
    """

    iteration: int
    wall: float
    loss: float
    seconds: float
    stats: SolveStats
    lr: float
    validation: float | None = None
    memory_bytes: int | None = None

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
        ]


class History:
    """Appends rows to a history file.

    Args:
        path: the file; made with its header where it is not there yet.
        monitor: name of the task's validation metric.
        keep: rows up to this iteration are kept, later ones dropped: a resumed run makes again
            what came after its checkpoint.
    """

    def __init__(self, path: Path, monitor: str, keep: int = 0) -> None:
        old = _rows_up_to(path, keep) if keep else []
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(columns(monitor))
        self._writer.writerows(old)
        self._file.flush()

    def append(self, row: Row) -> None:
        """Writes a row through to the file."""
        self._writer.writerow(row.cells())
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _rows_up_to(path: Path, last: int) -> list[list[str]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
        # A row that a kill cut off in the middle is shorter than the others; it is dropped too.
        return [row for row in rows if row and row[0].isdigit() and int(row[0]) <= last]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read, so the run cannot go on ({error}).") from error


def read_history(path: Path) -> pd.DataFrame:
    """A history as a table, without a last row that was cut off.

    Raises:
        InputError: no history there, or a file that is none.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no history ({error}).") from error
    if "iteration" not in table or "loss" not in table:
        raise InputError(f"{path} is no history: no columns iteration and loss.")
    return table.dropna(subset=["iteration", "wall", "loss", "lr"], how="any")
