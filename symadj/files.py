"""The files of a run directory: opened without following links, written whole or not at all.

A results directory may come from somebody else. Nothing here follows a symbolic link in it, waits
for a pipe or a device, or writes outside of it; docs/security.md has the whole of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from symadj.errors import InputError, StorageError
from symadj.units import format_bytes

CONFIG = "config.yaml"
RECORD = "record.json"
HISTORY = "history.csv"
LOG = "log.txt"
LOCK = ".lock"
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
PLOTS = "plots"
EVAL = "eval"
SAMPLES = "samples"
GUIDED = "guided"
ROLLOUT = "rollout.csv"

_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")
# Not every system has them: without, a link is followed and a pipe waited on.
_GUARDED = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_file(path: Path, mode: str = "r", **options: Any) -> IO[Any]:
    """Opens a regular file as the built-in `open` does, never through a symbolic link.

    Args:
        path: of the file.
        mode, options: of `open`; text is UTF-8 unless they say otherwise.

    Raises:
        InputError: there is a link, a directory, a pipe or a device of that name.
        OSError: as `open`.
    """
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
    try:
        return open(path, mode, opener=_open_regular, **options)
    except OSError as error:
        # ELOOP: a link; EISDIR: a directory; ENXIO: a pipe that nobody reads.
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from error
        raise


def read_text(path: Path, most: int) -> str:
    """The UTF-8 text of a file of at most so many bytes.

    Raises:
        InputError: no regular file, larger than that, or no UTF-8.
        OSError: it cannot be read.
    """
    with open_file(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise InputError(f"{path} is larger than {format_bytes(most)}, too large for what it is.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error}).") from error


def check_files(directory: Path) -> None:
    """Raises `InputError` where a name of a run's files or folders is taken by something else, or
    one of them cannot be read."""
    for name in (CONFIG, RECORD, HISTORY, LOG, CHECKPOINT, BEST, ROLLOUT):
        try:
            open_file(directory / name, "rb").close()
        except FileNotFoundError:
            continue
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{directory / name} cannot be opened ({reason}).") from error
    for name in (PLOTS, EVAL, SAMPLES, GUIDED):
        if os.path.lexists(directory / name):
            subfolder(directory, name)


def subfolder(directory: Path, name: str) -> Path:
    """A folder of a run directory, made where it is not there.

    Raises:
        InputError: a link or a file has that name.
        StorageError: it cannot be made.
    """
    folder = directory / name
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
        if not stat.S_ISDIR(os.lstat(folder).st_mode):
            raise InputError(
                f"{folder} is no folder, or a link to one, and is not written to. Rename it or "
                "remove it."
            )
    except OSError as error:
        raise unwritable(folder, error) from error
    return folder


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new, never a part.

    Args:
        path: the file to make or replace; a link of that name is replaced, not followed.
        write: is given a binary file, open for writing in the same directory.

    Raises:
        StorageError: the disk is full or cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # What a killed process of the same number has left there.
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        with open_file(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # torch.save answers a failed write by an error of its own.
        failed = error if isinstance(error, OSError) else error.__context__
        if isinstance(failed, OSError) and not isinstance(error, (StorageError, KeyboardInterrupt)):
            raise unwritable(path, failed) from error
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text by `write_atomically`; what UTF-8 cannot hold is written as an escape."""
    write_atomically(path, lambda file: file.write(text.encode(errors="backslashreplace")))


def remove_temporaries(folder: Path) -> None:
    """Removes the temporary files of `write_atomically` whose process has ended."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            match = _TEMPORARY.fullmatch(path.name)
            if match and not process_lives(int(match[1])):
                with contextlib.suppress(OSError):
                    path.unlink()


def process_lives(process: int) -> bool:
    """Whether a process of this number runs on this machine."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def unwritable(path: Path, error: OSError) -> StorageError:
    """The error to raise for a failure to write there: what is safe, and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    why = "the disk is full" if full else error.strerror or str(error)
    return StorageError(
        f"{path} cannot be written: {why}. What was saved before is whole. "
        f"{'Make room' if full else 'Make it writable, or give another place'}, then run the same "
        "command again (a training that has begun: resume=RUN_DIR)."
    )


def _open_regular(path: str, flags: int) -> int:
    number = os.open(path, flags | _GUARDED, 0o666)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return number


def _no_file(path: Path) -> InputError:
    return InputError(
        f"{path} is no regular file (a link, a folder, a pipe or a device) and is not opened. "
        "Rename it or remove it."
    )
