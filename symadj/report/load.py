"""Runs on disk -> DataFrame. Only JSON and CSV are read; nothing of a run is ever instantiated."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from symadj.errors import InputError
from symadj.files import CONFIG, GUIDED, HISTORY, RECORD, ROLLOUT, open_file, read_text
from symadj.records.history import read_history
from symadj.records.record import LARGEST, RunRecord
from symadj.report.flatten import FlatRecord, flatten, share_data_names
from symadj.report.frames import column, numbers


class SkippedFileWarning(UserWarning):
    """A file that was met among runs and could not be read as a part of one."""


@dataclass(frozen=True)
class Skipped:
    """A file that was left out, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"skipped {self.path}: {self.reason}"


@dataclass(frozen=True)
class Loaded:
    """What was read, and what could not be.

    Attributes:
        frame: one row per record (`load_runs`) or per iteration (`load_histories`).
        skipped: the files left out; each of them was warned of as well.
    """

    frame: pd.DataFrame
    skipped: tuple[Skipped, ...]


def load_runs(sources: Iterable[str | Path]) -> Loaded:
    """Reads all records below the sources, whether their runs finished, failed or were cut off.

    Args:
        sources: run directories, directories of any depth that hold such, record files, or
            patterns of any of these (`results/runs/*aca*`). A record met twice counts once.

    Returns:
        One row per record. The columns are the record's keys by dotted name: `status`, `grad`,
        `config.solver.rtol`, `metrics.test/nll`, `seconds.iteration.median`, ...; `path` is the
        record's file. Lists stand there as JSON text.

    Raises:
        InputError: a source that does not exist, or a pattern that nothing matches.
    """
    rows: list[FlatRecord] = []
    skipped: list[Skipped] = []
    for found in _distinct(_find(sources)):
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        try:
            rows.append(_read(found))
        except (InputError, OSError, ValueError, OverflowError, RecursionError) as error:
            skipped.append(Skipped(found, str(error) or type(error).__name__))
    share_data_names(rows)
    return _loaded(pd.DataFrame(rows), skipped)


def load_histories(runs: pd.DataFrame) -> Loaded:
    """Reads the history.csv beside each record that has one.

    Args:
        runs: as `load_runs` gives it.

    Returns:
        One row per training iteration of every run: the columns of history.csv as numbers, and
        `path`, which is that of the run's record.
    """
    return _beside(runs, HISTORY, read_history, ("iteration", "wall"))


def load_rollouts(runs: pd.DataFrame) -> Loaded:
    """Reads the rollout.csv beside each record that has one: errors of its roll-outs over time.

    Args:
        runs: as `load_runs` gives it.

    Returns:
        One row per snapshot of every run: the columns of `symadj.tasks.rollout.errors_over_time`
        as numbers, and `path`, which is that of the run's record.
    """
    return _beside(runs, ROLLOUT, _read_table, ("t", "state_mse"))


def _beside(
    runs: pd.DataFrame, name: str, read: Callable[[Path], pd.DataFrame], needed: Sequence[str]
) -> Loaded:
    """The tables of this name beside the records, each with its record's path.

    Rows without a number in the first needed columns, such as a torn last one, are left out.
    """
    parts: list[pd.DataFrame] = []
    skipped: list[Skipped] = []
    for path in map(str, column(runs, "path")):
        file = Path(path).with_name(name)
        if Path(path).name != RECORD or not file.is_file():
            continue
        try:
            parts.append(_numbers(read(file), needed).assign(path=path))
        except KeyError as error:
            skipped.append(Skipped(file, f"column {error} is missing"))
        except InputError as error:
            skipped.append(Skipped(file, str(error)))
    frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"path": []})
    return _loaded(frame, skipped)


def _read_table(path: Path) -> pd.DataFrame:
    try:
        with open_file(path) as file:
            return pd.read_csv(file)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read ({error}).") from error


def _loaded(frame: pd.DataFrame, skipped: list[Skipped]) -> Loaded:
    for item in skipped:
        warnings.warn(str(item), SkippedFileWarning, stacklevel=3)
    return Loaded(frame, tuple(skipped))


def _read(path: Path) -> FlatRecord:
    record = RunRecord.from_json(read_text(path, LARGEST))
    return {"path": str(path), **flatten(record)}


def _numbers(found: pd.DataFrame, needed: Sequence[str]) -> pd.DataFrame:
    table = pd.DataFrame({str(name): numbers(column(found, name)) for name in found})
    return table.dropna(subset=list(needed))


def _find(sources: Iterable[str | Path]) -> Iterator[Path | Skipped]:
    for source in sources:
        for path in _matches(source):
            if path.is_dir():
                yield from _below(path)
            else:
                yield path


def _matches(source: str | Path) -> list[Path]:
    if os.path.lexists(source):
        return [Path(source)]
    text = os.path.expanduser(str(source))
    found = sorted(glob.glob(text, recursive=True))
    if not found:
        what = "nothing matches" if glob.has_magic(text) else "there is no file or directory"
        raise InputError(f"{what} {text!r}; give run directories, record files or patterns.")
    return [Path(path) for path in found]


def _below(directory: Path) -> Iterator[Path | Skipped]:
    problems: list[Skipped] = []

    def note(error: OSError) -> None:
        problems.append(Skipped(Path(error.filename), f"cannot be read ({error.strerror})"))

    for folder, subfolders, files in os.walk(directory, onerror=note):
        subfolders.sort()
        if RECORD in files:
            # A run's guidings are other figures than the run's: they are read where they are named.
            subfolders[:] = [name for name in subfolders if name != GUIDED]
            yield Path(folder, RECORD)
        elif CONFIG in files and HISTORY in files:
            yield Skipped(Path(folder), f"a run directory without its {RECORD}")
    yield from problems


def _distinct(found: Iterable[Path | Skipped]) -> Iterator[Path | Skipped]:
    seen: set[Path] = set()
    for item in found:
        path = item.path if isinstance(item, Skipped) else item
        real = Path(os.path.realpath(path))
        if real not in seen:
            seen.add(real)
            yield item
