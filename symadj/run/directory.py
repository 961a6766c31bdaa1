"""The directory of a run: made for it alone, named so that a shell can take it."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import IO

from symadj.config.schema import role
from symadj.errors import InputError
from symadj.files import LOCK, open_file, unwritable

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes are not kept apart there
    fcntl = None

_LONGEST = 96
_TRIES = 4


def run_name(now: datetime, overrides: Iterable[str], seed: int) -> str:
    """Names a run after its start, its overrides and its seed.

    Only letters, digits, '.', '_' and '-' occur, so neither a shell nor Hydra's own override
    grammar (in `resume=...`) needs quotes.
    """
    parts = [now.strftime("%Y%m%d-%H%M%S")]
    parts += [part for item in overrides if (part := _slug(item))]
    tail = f"seed-{seed}"
    head = "_".join(parts)[: _LONGEST - len(tail) - 1].rstrip("._-")
    return f"{head}_{tail}"


def _slug(override: str) -> str:
    key, _, value = override.partition("=")
    # The seed ends the name.
    if key == "seed" or not role(key.lstrip("+~")).tells_runs_apart:
        return ""
    # A path would fill the whole name; its last part is what tells two runs apart.
    value = value.strip("'\"").rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{key.lstrip('+~')}-{value}").strip(".-")


def check_name(name: str) -> str:
    """Returns `name`, or raises `InputError` where a shell or a file system would stumble."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", name):
        raise InputError(
            f"name={name!r} cannot name a run directory: letters, digits, '.', '_' and '-' are "
            "allowed, the first a letter or digit, at most 121 of them."
        )
    return name


def make_run_directory(out: Path, name: str) -> Path:
    """Makes `out/name`, or `out/name-2`, `-3`, ... where others have it already.

    The directory is made exclusively: two runs that start at once never share one.

    Raises:
        InputError: `out` cannot be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for number in count(1):
            path = out / (name if number == 1 else f"{name}-{number}")
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise InputError(
            f"out={out} cannot hold run directories ({error.strerror}); "
            "give a directory that you may write to: out=DIR."
        ) from error
    raise AssertionError("count() never ends")


@contextmanager
def sole_user(directory: Path) -> Iterator[None]:
    """Holds a run directory for this process; the system lets go when the process ends.

    Raises:
        InputError: another process is training there, or the lock is no regular file.
        StorageError: the directory cannot be written.
    """
    with held(directory / LOCK) as mine:
        if not mine:
            raise InputError(f"{directory} is in use: another process is training there.")
        yield


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Holds a lock file, which is made where it is not there; False: another process has it.

    Raises:
        InputError: there is something of that name that is no regular file.
        StorageError: it cannot be made.
    """
    try:
        file = open_file(path, "a")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        # Again: another process may only have been looking whether it is held.
        yield any(_lock(file) or time.sleep(0.05) for _ in range(_TRIES))


@contextmanager
def waited(path: Path) -> Iterator[None]:
    """Holds a lock file, as soon as no other process has it.

    Raises:
        InputError, StorageError: as `held`.
    """
    try:
        file = open_file(path, "a")
    except OSError as error:
        raise unwritable(path, error) from error
    with file:
        if fcntl is not None:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_use(directory: Path) -> bool:
    """Whether some process is training in this run directory now."""
    try:
        with open_file(directory / LOCK) as file:
            return not _lock(file)
    except (OSError, InputError):
        return False


def _lock(file: IO[str]) -> bool:
    """Takes the lock of an open file, until that is closed; False where another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: two processes are not kept apart there
    return True
