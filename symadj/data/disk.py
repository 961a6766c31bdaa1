"""Files on disk: writing that says when the disk is full, and checksums."""

from __future__ import annotations

import errno
import hashlib
import shutil
from pathlib import Path
from typing import BinaryIO

from symadj.errors import SymadjError
from symadj.units import format_bytes

CHUNK = 1 << 20


def checksum(path: Path, algorithm: str = "md5") -> str:
    """The file's digest in hexadecimal."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def make_directory(path: Path) -> None:
    """Makes a directory and those above it.

    Raises:
        SymadjError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def open_to_write(path: Path, append: bool = False) -> BinaryIO:
    """Opens a binary file; unbuffered, so that a full disk shows where it is written to.

    Raises:
        SymadjError: it cannot be opened.
    """
    try:
        return open(path, "ab" if append else "wb", buffering=0)  # type: ignore[return-value]
    except OSError as error:
        raise unwritable(path, error) from error


def write_block(file: BinaryIO, block: bytes | memoryview, path: Path) -> None:
    """Writes the whole block.

    Raises:
        SymadjError: the disk is full, or another failure to write.
    """
    rest = memoryview(block)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        raise unwritable(path, error) from error


def require_space(directory: Path, size: int) -> None:
    """Raises SymadjError where the directory's disk has no room for so many bytes more."""
    free = shutil.disk_usage(directory).free
    if size > free:
        raise SymadjError(
            f"{format_bytes(size)} are needed in {directory} and {format_bytes(free)} are free. "
            "Make room, or choose another disk by data_dir=DIR or SYMADJ_DATA."
        )


def unwritable(path: Path, error: OSError) -> SymadjError:
    """The error to raise for a failure to write there."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SymadjError(
            f"the disk is full: {path} cannot be written ({error.strerror}). Make room, or choose "
            "another disk by data_dir=DIR or SYMADJ_DATA, and run the same command again."
        )
    return SymadjError(
        f"{path} cannot be written: {error.strerror or error}. Choose another directory by "
        "data_dir=DIR or SYMADJ_DATA."
    )
