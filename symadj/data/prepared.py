"""Prepared arrays: processed once, kept on disk, read from there batch by batch.

A prepared set is a directory `data_dir/prepared/NAME-vVERSION` with train.npy, val.npy and test.npy
(float32 [rows, dim], as the published preparations have them; a run in float64 trains on the same
values) and meta.json. It appears whole or not at all. A set whose preparation changes gets the next
version, so that an old directory is never taken for the new one.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symadj.data.base import VectorData
from symadj.data.disk import (
    make_directory,
    open_to_write,
    require_space,
    unwritable,
    write_block,
)
from symadj.errors import InputError, SymadjError
from symadj.files import process_lives

META = "meta.json"
BLOCK_ROWS = 1 << 16


class Splits(NamedTuple):
    """Rows of the three splits, each [rows, dim]."""

    train: NDArray[Any]
    val: NDArray[Any]
    test: NDArray[Any]


@dataclass(frozen=True)
class Meta:
    """What a prepared set says of itself.

    Attributes:
        columns: the entries' names, where they have any.
        details: what else is worth keeping: counts, a seed, ...
    """

    columns: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def prepared_path(root: Path, name: str, version: int) -> Path:
    """Where a prepared set is, or would be."""
    return root / "prepared" / f"{name}-v{version}"


def is_prepared(path: Path) -> bool:
    """Whether the whole set is there."""
    return (path / META).is_file()


def prepare(path: Path, make: Callable[[Path], Meta], replace: bool = False) -> Path:
    """Makes a prepared set where there is none.

    Args:
        path: the set's directory.
        make: writes the three splits into the directory it is given, by `write_splits` or
            `write_split`, and says what they are.
        replace: make it even if there is one, and put it in that one's place.

    Raises:
        SymadjError: the directory cannot be written, a full disk among others; nothing is left.
    """
    remove_abandoned(path)
    if is_prepared(path) and not replace:
        return path
    make_directory(path.parent)
    with new_directory(path) as temporary:
        meta = make(temporary)
        with open_to_write(temporary / META) as file:
            write_block(file, json.dumps(asdict(meta), indent=1).encode(), temporary / META)
        move_directory(temporary, path)
    return path


@contextlib.contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A temporary directory beside `path`, gone at the end unless it was moved."""
    remove_abandoned(path)
    prefix = f".{path.name}-{_machine()}-{os.getpid()}-"
    try:
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    except OSError as error:
        raise unwritable(path.parent, error) from error
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_abandoned(path: Path) -> None:
    """Removes the temporary directories of `new_directory` whose process was killed."""
    prefix = f".{path.name}-{_machine()}-"
    with contextlib.suppress(OSError):
        for entry in path.parent.iterdir():
            process = entry.name.removeprefix(prefix).partition("-")[0]
            ours = entry.name.startswith(prefix) and process.isdecimal()
            if ours and not process_lives(int(process)):
                shutil.rmtree(entry, ignore_errors=True)


def _machine() -> str:
    # The directory of data may be shared by machines, whose processes this one cannot see.
    return re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())


def move_directory(temporary: Path, path: Path) -> None:
    """Gives a finished directory its name, in the place of what has that name already.

    Raises:
        SymadjError: it cannot be moved there.
    """
    temporary.chmod(0o755)  # mkdtemp makes directories that only their owner reads
    with new_directory(path) as former:
        try:
            if path.exists():
                os.replace(path, former / path.name)
            os.replace(temporary, path)
        except OSError as error:
            # Of two processes that make the same set at once, either's may stay.
            if not path.is_dir():
                raise unwritable(path, error) from error


def write_splits(directory: Path, splits: Splits) -> None:
    """Writes arrays [rows, dim] as float32.

    Raises:
        SymadjError: a split without rows, values that are not finite, a full disk.
    """
    sizes = {name: len(rows) for name, rows in splits._asdict().items()}
    if not all(sizes.values()):
        raise SymadjError(f"the raw data have too few rows: the splits would hold {sizes}.")
    for name, rows in splits._asdict().items():
        blocks = (rows[i : i + BLOCK_ROWS] for i in range(0, len(rows), BLOCK_ROWS))
        write_split(directory, name, rows.shape, blocks)


def write_split(
    directory: Path, split: str, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]
) -> None:
    """Writes one split block by block; no more than a block is in memory.

    Args:
        directory: of the set in the making.
        split: "train", "val" or "test".
        shape: (rows, dim) of all blocks together.
        blocks: arrays [n, dim], in order; written as float32.

    Raises:
        SymadjError: values that are not finite, a full disk.
    """
    path = directory / f"{split}.npy"
    require_space(directory, 4 * int(np.prod(shape)))
    written = 0
    with open_to_write(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
        try:
            np.lib.format.write_array_header_1_0(file, header)
        except OSError as error:
            raise unwritable(path, error) from error
        for block in blocks:
            with np.errstate(over="ignore"):  # found below
                values = np.ascontiguousarray(block, dtype="<f4")
            if not np.isfinite(values).all():
                raise SymadjError(f"{split}: values that are NaN or infinite after preparation.")
            write_block(file, values.data.cast("B"), path)
            written += len(values)
    if written != shape[0]:
        raise SymadjError(f"{split}: {written} rows of {shape[0]} were made.")


class PreparedData(VectorData):
    """The splits of a prepared set, which stay on disk.

    `train`, `val` and `test` are views of the files: pages are read when they are used, and a
    training batch copies its own rows only. The files are opened for reading, so the tensors must
    not be changed in place.

    Args:
        name: shown in tables and headers.
        path: the set's directory.
        note: one line on what the data are.

    Raises:
        InputError: the set is damaged; the message says how to make it again.
    """

    def __init__(self, name: str, path: Path, note: str) -> None:
        self.path = path
        self.meta = read_meta(path)
        splits = [_view(path / f"{split}.npy") for split in Splits._fields]
        if len({split.shape[1] for split in splits}) > 1:
            raise _damaged(path, "its splits have different widths")
        super().__init__(name, *splits, note=note, columns=self.meta.columns)

    def _draw_rows(self, n: int, generator: torch.Generator) -> Tensor:
        # In order, neighbouring rows come from the same page and the disk reads forward.
        return super()._draw_rows(n, generator).sort().values


def read_meta(path: Path) -> Meta:
    """What a prepared set says of itself.

    Raises:
        InputError: it is damaged.
    """
    try:
        content = json.loads((path / META).read_text(encoding="utf-8"))
        return Meta(tuple(content["columns"]), content["details"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, f"{META} cannot be read") from error


def _view(file: Path) -> Tensor:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(file.parent, f"{file.name}: {error}") from error
    if array.dtype != np.float32 or array.ndim != 2 or 0 in array.shape:
        raise _damaged(file.parent, f"{file.name} holds {array.dtype} {array.shape}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _damaged(path: Path, what: str) -> InputError:
    return InputError(
        f"the prepared data in {path} are damaged ({what}). Remove that directory and prepare or "
        "build the set again (`symadj-data list` says how)."
    )
