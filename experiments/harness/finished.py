"""Which cells are finished: found by their configuration, not by their name."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.cell import Cell
from symadj.bench.cases import groups
from symadj.config.bench import BenchSettings, bench_settings
from symadj.config.saved import saved_config
from symadj.config.schema import RunSettings
from symadj.errors import InputError
from symadj.files import CONFIG, RECORD
from symadj.launch.jobs import identity
from symadj.records.record import RunRecord

_SETTINGS = {"train": RunSettings, "bench": BenchSettings}


@dataclass(frozen=True)
class Found:
    """What a finished cell has left.

    Attributes:
        directory: of the run or benchmark.
        records: one of a training; of a benchmark one for each row.
    """

    directory: Path
    records: tuple[RunRecord, ...]

    @property
    def failed(self) -> int:
        """How many of the records are failures."""
        return sum(record.status != "ok" for record in self.records)


def find(cell: Cell, config: DictConfig, runs: Path) -> Found | None:
    """The finished run of this configuration with the fewest failures; None: there is none."""
    wanted = _complete_identity(config, cell.command)
    rows = 1 if cell.command == "train" else _rows(config)
    best: Found | None = None
    for path in sorted(runs.glob(f"*/{CONFIG}")):
        if _identity(path, path.stat().st_mtime_ns, cell.command) != wanted:
            continue
        places = path.parent.glob(RECORD if cell.command == "train" else f"*/{RECORD}")
        records = tuple(r for r in map(_record, sorted(places)) if r is not None)
        found = Found(path.parent, records)
        if len(records) == rows and (best is None or found.failed < best.failed):
            best = found
    return best


def _rows(config: DictConfig) -> int:
    return sum(len(group.cases) for group in groups(config, bench_settings(config)))


@functools.cache
def _identity(path: Path, changed: int, command: str) -> str | None:
    """The identity of a run's configuration; read again where the file has changed."""
    try:
        return _complete_identity(saved_config(path.parent), command)
    except (InputError, OmegaConfBaseException):
        return None


def _complete_identity(config: DictConfig, command: str) -> str:
    """A configuration's identity; a setting that is younger than its file has its default."""
    merged = OmegaConf.merge(OmegaConf.structured(_SETTINGS[command]), config)
    return identity(OmegaConf.to_container(merged, resolve=True))


def _record(path: Path) -> RunRecord | None:
    """A record that is a result; None for one of a run that was cut off or has a mistake."""
    try:
        record = RunRecord.load(path)
    except InputError:
        return None
    out_of_time = (record.error or {}).get("type") == "TimeLimitExceeded"
    return record if record.status.counts or out_of_time else None
