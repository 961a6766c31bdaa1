"""The study of a search: where it is kept, and what it is a study of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, OptunaError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage, JournalStorage, get_storage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from symadj.errors import InputError, StorageError, SymadjError
from symadj.files import open_file
from symadj.run.directory import waited

optuna.logging.set_verbosity(optuna.logging.ERROR)

ABOUT = "symadj"
"""The attribute of a study that says what it searches."""
_LINE = 2**20

Direction = Literal["minimize", "maximize"]


def open_study(storage: str, name: str) -> optuna.Study:
    """A study that exists.

    Raises:
        InputError, StorageError: it cannot be opened.
    """
    with reported(storage):
        return optuna.load_study(study_name=name, storage=_open(storage), sampler=RandomSampler())


def begin_study(
    storage: str, name: str, direction: Direction, about: Mapping[str, Any]
) -> optuna.Study:
    """Opens a study, which is made where it is not there.

    Args:
        storage: the path of a journal file, or a URL of Optuna's.
        name: of the study.
        direction: "minimize" or "maximize".
        about: what it searches, by plain values; those of an earlier sitting must be the same.

    Raises:
        InputError: it was another search, or it cannot be opened.
        StorageError: it cannot be written.
    """
    with reported(storage):
        kept = _open(storage)
        try:
            study = optuna.create_study(
                study_name=name, storage=kept, sampler=RandomSampler(), direction=direction
            )
            study.set_user_attr(ABOUT, dict(about))
        except DuplicatedStudyError:
            study = optuna.load_study(study_name=name, storage=kept, sampler=RandomSampler())
        there = study.user_attrs.get(ABOUT)
        if there is None:  # it was cut off before that was written
            study.set_user_attr(ABOUT, dict(about))
        elif there != about:
            raise InputError(_differences(name, there, about))
    return study


def _differences(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    differ = [
        f"{key}: {there.get(key)!r} there, {here.get(key)!r} here"
        for key in sorted(there.keys() | here.keys())
        if there.get(key) != here.get(key)
    ]
    return (
        f"search.study={name} was another search ({'; '.join(differ)}). Give this one a name of "
        "its own, search.study=NAME, or another directory, out=DIR."
    )


def pruner(settings: Mapping[str, Any]) -> BasePruner:
    """The pruner that the settings describe, `iterations` being those from the first validation."""
    if settings["pruner"] == "median":
        return MedianPruner(settings["trials"], settings["iterations"])
    if settings["pruner"] == "hyperband":
        first, last = settings["iterations"], settings["steps"]
        return HyperbandPruner(first, max(first, last), settings["factor"])
    return NopPruner()


@contextmanager
def reported(storage: str) -> Iterator[None]:
    """Raises what goes wrong with a storage in use as an error of symadj's."""
    try:
        yield
    except SymadjError:
        raise
    except (OSError, OptunaError) as error:
        raise StorageError(
            f"the study in {_shown(storage)} cannot be read or written ({error}). What was saved "
            "before is whole; run the same command again."
        ) from error


def _shown(storage: str) -> str:
    """The storage without a password."""
    scheme, found, rest = storage.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else storage


def _open(storage: str) -> BaseStorage:
    try:
        if "://" in storage:
            return get_storage(storage)
        path = Path(storage)
        open_file(path, "ab").close()
        return JournalStorage(JournalFileBackend(str(path), lock_obj=_Lock(path)))
    except SymadjError:
        raise
    except Exception as error:  # a database's driver has errors of its own
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"search.storage={_shown(storage)} cannot be used ({type(error).__name__}: {reason})."
        ) from error


class _Lock(JournalFileOpenLock):
    """The lock on a journal file, which the system takes from a process that dies.

    Args:
        journal: the file. Half a line that a process or a full disk has left at its end is cut
            off before the next one is written.
    """

    def __init__(self, journal: Path) -> None:
        super().__init__(str(journal))
        self._journal = journal
        self._held = ExitStack()

    def acquire(self) -> bool:
        """Waits for it."""
        self._held.enter_context(waited(self._journal.with_name(f".{self._journal.name}.lock")))
        _cut_off_half_a_line(self._journal)
        return True

    def release(self) -> None:
        """Lets go of it."""
        self._held.close()


def _cut_off_half_a_line(path: Path) -> None:
    with open_file(path, "rb+") as file:
        end = file.seek(0, 2)
        start = max(0, end - _LINE)
        file.seek(start)
        tail = file.read()
        if tail and not tail.endswith(b"\n"):
            file.truncate(start + tail.rfind(b"\n") + 1)
