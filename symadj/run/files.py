"""The files of a run directory, and writing that leaves a file whole or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

CONFIG = "config.yaml"
RECORD = "record.json"
HISTORY = "history.csv"
LOG = "log.txt"
CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
PLOTS = "plots"
ROLLOUT = "rollout.csv"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Writes a file so that a reader, or a crash, sees the old content or the new, never a part.

    Args:
        path: the file to make or replace.
        write: is given a binary file, open for writing in the same directory.

    Raises:
        OSError: the directory cannot be written; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text by `write_atomically`."""
    write_atomically(path, lambda file: file.write(text.encode()))
