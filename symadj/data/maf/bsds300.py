"""BSDS300: grey patches of 8x8 pixels of natural images, 63 columns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from symadj.data.grey_patches import DIM, PatchImages
from symadj.data.maf.archive import raw_file
from symadj.data.maf.base import MAFData
from symadj.data.prepared import BLOCK_ROWS, Meta, write_split
from symadj.errors import SymadjError
from symadj.packages import need

# The file's names of the three splits.
NAMES = {"train": "train", "val": "validation", "test": "test"}


class BSDS300(PatchImages, MAFData):
    """BSDS300: 1,000,000 / 50,000 / 250,000 patches, ready in the archive.

    They are dequantised there (uniform noise, then [0, 1]), each patch has had its mean taken off
    and its last pixel dropped, which the others then determine. Nothing is left to do but to copy
    them block by block as float32.

    Source: gpapamak/maf, datasets/bsds300.py; Uria et al. 2013 (RNADE).
    """

    key = "bsds300"
    label = "BSDS300"
    summary = "8x8 grey patches of natural images without their mean, 63 columns"

    @classmethod
    def make(cls, root: Path, directory: Path) -> Meta:
        """Copies the splits of BSDS300/BSDS300.hdf5."""
        path = raw_file(root, "BSDS300/BSDS300.hdf5")
        h5py = need("h5py", extra="maf", purpose="reads BSDS300's file")
        try:
            with h5py.File(path, "r") as file:
                for split, name in NAMES.items():
                    rows = file[name]
                    if rows.ndim != 2 or rows.shape[1] != DIM or not len(rows):
                        raise SymadjError(
                            f"{path}: {name} is {rows.shape}; [rows, {DIM}] is needed."
                        )
                    write_split(directory, split, rows.shape, _blocks(rows))
        except (OSError, KeyError) as error:
            raise SymadjError(f"{path} cannot be read ({error}).") from error
        return Meta()


def _blocks(rows: Any) -> Iterator[NDArray[Any]]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]
