"""Reading .npz archives that may be anything."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
        OSError: it cannot be opened.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise BrokenArchive("a single array")
        with archive:
            return {name: archive[name] for name in archive.files}
    except _BROKEN as error:
        raise BrokenArchive(str(error)) from error
