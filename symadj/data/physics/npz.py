"""Reading .npz archives that may be anything."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from symadj.errors import InputError
from symadj.memory import require_memory

_BROKEN = (
    *(ValueError, KeyError, EOFError, OverflowError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, struct.error),
)


class BrokenArchive(ValueError):
    """A file that is no whole .npz archive of plain arrays."""


def read_npz(path: Path) -> dict[str, NDArray]:
    """All arrays of an archive by name; no Python object is opened.

    Raises:
        BrokenArchive: it is torn, of another kind, or holds Python objects.
        InputError: its arrays fit into no memory.
        OSError: it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            single = file.read(2) != b"PK"
        if not single:
            _check_members(path)
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BrokenArchive("a single array")
        with archive:
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except _BROKEN as error:
        raise BrokenArchive(str(error)) from error


def check_claim(path: Path) -> None:
    """Refuses a .npy file that claims more numbers than it has bytes, before any is allocated.

    Another kind of file is passed over.

    Raises:
        ValueError: so it does, or its header cannot be read.
        InputError: its array fits into no memory.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        kind = file.read(len(npy.MAGIC_PREFIX))
        file.seek(0)
        if kind == npy.MAGIC_PREFIX:
            _check_array(file, path.stat().st_size, str(path))


def _check_members(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.filename.endswith(".npy"):
                with archive.open(member) as file:
                    _check_array(file, member.file_size, f"{path}: {member.filename}")


def _check_array(file: IO[bytes], size: int, what: str) -> None:
    """Compares the shape in an array's header with the bytes that are there."""
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(file)
    claimed = math.prod(shape) * dtype.itemsize
    if claimed > size and not dtype.hasobject:
        raise ValueError(f"{what} claims {claimed} bytes and has {size}")
    # The array as it is stored, and as float64.
    needed = claimed + 8 * math.prod(shape)
    require_memory(needed, f"{what}: the array", "take fewer rows")
