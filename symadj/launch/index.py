"""What is finished, cut off or running below a directory, and who is at which job.

Every job has a file `.jobs/NAME` below the directory of the runs: the process that is at the job
holds its lock, and its lines are the names of the run directories that were made for it. So a job
looks at its own runs and not at everybody's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from symadj.bench.cases import groups
from symadj.config.bench import BenchSettings, bench_settings
from symadj.config.saved import saved_config
from symadj.config.schema import RunSettings, with_defaults
from symadj.errors import InputError
from symadj.files import CHECKPOINT, CONFIG, RECORD, open_file, read_text, subfolder, unwritable
from symadj.launch.job import Job, Outcome, identity
from symadj.records.record import RunRecord
from symadj.records.status import Status, overall
from symadj.run.checkpoint import load_checkpoint
from symadj.run.directory import held
from symadj.run.train import never_saved

_JOBS = ".jobs"
_LARGEST = 2**20


@dataclass(frozen=True)
class FormerRun:
    """What a run has left.

    Attributes:
        directory: of the run.
        records: one of a training; of a benchmark one for each row.
    """

    directory: Path
    records: tuple[RunRecord, ...]

    def done(self, job: Job) -> bool:
        """Whether there is nothing left to do of the job that this is a run of."""
        if job.kind == "bench" and len(self.records) < _rows(job):
            return False
        if job.kind == "bench" or job.failures_count:
            return all(record.is_result for record in self.records)
        return self.failures == 0

    @property
    def failures(self) -> int:
        """How many of its records are failures."""
        return sum(record.status is not Status.OK for record in self.records)

    def outcome(self, note: str = "") -> Outcome:
        """How it ended; a benchmark is well where a row is, and none has failed by mistake."""
        last = Outcome.of(self.records[0], self.directory, note)
        if self.records[0].kind == "train":
            return last
        status = overall(record.status for record in self.records)
        return replace(last, status=status, message="", metrics={})

    def can_go_on(self) -> bool:
        """Whether a training that is not done has left what it can go on from."""
        try:
            saved_config(self.directory)
            if never_saved(self.directory):
                return True
            load_checkpoint(self.directory / CHECKPOINT)
        except InputError:
            return False
        return True


def _rows(job: Job) -> int:
    """How many rows a benchmark has."""
    found = groups(job.config, bench_settings(job.config))
    return sum(len(group.cases) for group in found)


class Index:
    """The runs below a directory by what they are, as they lie there when it is made.

    Args:
        out: the directory of the runs.
    """

    def __init__(self, out: Path) -> None:
        self._directories: dict[str, list[str]] = {}
        for path in sorted(out.glob(f"*/{CONFIG}")):
            self._directories.setdefault(_identity_of(path.parent), []).append(str(path.parent))

    def known(self, job: Job) -> Job:
        """The job with the directories of its runs."""
        return replace(job, former=tuple(self._directories.get(job.identity, ())))


def runs_of(job: Job) -> list[FormerRun]:
    """The runs of a job that can be read, the least of failures last."""
    names = dict.fromkeys((*job.former, *_registered(job)))
    own = [Path(name) for name in names if _identity_of(Path(name)) == job.identity]
    found = [run for directory in own if (run := _run(directory, job.kind)) is not None]
    return sorted(found, key=lambda run: -run.failures)


class Claim:
    """A job that this process is at."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def register(self, directory: Path) -> None:
        """Notes the directory of a run of the job, which lies below its `out`."""
        with open_file(self._path, "a") as file:
            file.write(f"{directory.name}\n")


@contextmanager
def claimed(job: Job) -> Iterator[Claim | None]:
    """Holds a job for this process, wherever its run will be; None: another process is at it.

    Raises:
        InputError: there is something of the lock's name that is no regular file.
        StorageError: the directory cannot be written.
    """
    path = lock_of(job)
    with held(path) as mine:
        yield Claim(path) if mine else None


def lock_of(job: Job, suffix: str = "") -> Path:
    """The file of a job below its `out`, or another one that is named like it."""
    try:
        job.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(job.out, error) from error
    name = hashlib.sha256(job.identity.encode(errors="backslashreplace")).hexdigest()[:32]
    return subfolder(job.out, _JOBS) / f"{name}{suffix}"


def _registered(job: Job) -> list[str]:
    try:
        names = read_text(lock_of(job), _LARGEST).splitlines()
    except (OSError, InputError):
        return []
    # Only what lies below `out`, whatever the file says.
    return [str(job.out / name) for name in names if Path(name).name == name]


def _run(directory: Path, kind: str) -> FormerRun | None:
    pattern = RECORD if kind == "train" else f"*/{RECORD}"
    records = []
    for path in sorted(directory.glob(pattern)):
        try:
            records.append(RunRecord.load(path))
        except InputError:
            # Another schema, or a file that some crash has spoilt: no run to build on.
            return None
    if records or (kind == "train" and (directory / CONFIG).exists()):
        return FormerRun(directory, tuple(records))
    return None


def _identity_of(directory: Path) -> str:
    """What a run directory is a run of; empty where that cannot be read."""
    for name in (RECORD, CONFIG):  # a training's record is read faster
        path = directory / name
        try:
            return _identity(path, path.stat().st_mtime_ns)
        except OSError:
            continue
    return ""


@functools.cache
def _identity(path: Path, changed: int) -> str:
    """The identity that a file of a run tells; read again where the file has changed."""
    try:
        if path.name == RECORD:
            record = RunRecord.load(path)
            kind, config = record.kind, record.config
        else:
            config = saved_config(path.parent)
            kind = "bench" if "grads" in config else "train"
        schema = BenchSettings if kind == "bench" else RunSettings
        return identity(kind, with_defaults(config, schema))
    except InputError:
        # Another schema, or a file that some crash has spoilt: no run to build on.
        return ""
