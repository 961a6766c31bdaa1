"""A pickled DataFrame of numbers, read without running anything that the file names.

A pickle is a program: what it names is imported and called. Here every pandas name stands for a
recorder that keeps its arguments and does nothing, of NumPy only what rebuilds an array may be
called, and any other name is refused. That reads the frames of pandas 0.14 under Python 2 as well
as today's, whatever pandas is installed (which reads none from before its 1.0).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from symadj.errors import SymadjError


def read_frame(path: Path) -> pd.DataFrame:
    """The columns of a pickled DataFrame as float64; its row labels are left out.

    The caller has made sure that the file is the one it should be: this is the second line of
    defence.

    Args:
        path: what `DataFrame.to_pickle` wrote, uncompressed, under pandas 0.14 or later.

    Raises:
        SymadjError: the file names something else than pandas and array pieces, is damaged, or
            holds no frame of real numbers.
    """
    try:
        with path.open("rb") as file:
            recorded = _Unpickler(file).load()
        return _frame(recorded)
    except SymadjError as error:
        raise SymadjError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle raises almost anything
        raise SymadjError(
            f"{path} is damaged or no pickled table of numbers ({type(error).__name__}: {error})."
        ) from error


class _Recorded:
    """Stands for an object of pandas: the arguments and the state that it would have got."""

    origin = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Recorded:
        self = super().__new__(cls)
        self.args = args
        self.state = None
        return self

    args: tuple[Any, ...]
    state: Any

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct(kind: type, shape: tuple[int, ...], code: Any) -> Any:
    """An empty array, which its state then fills; a recorder for what was a kind of array once."""
    return kind() if issubclass(kind, _Recorded) else np.ndarray(shape, dtype=np.int8)


def _frombuffer(content: Any, dtype: np.dtype, shape: tuple[int, ...], order: Any) -> Any:
    return np.frombuffer(content, dtype=dtype).reshape(shape, order=order)


# What a pickle may name besides pandas: how NumPy 1 and 2 rebuild arrays, and slices, which say
# what columns a block holds.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("builtins", "slice"): slice,
    ("__builtin__", "slice"): slice,  # Python 2
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        # Python 2's strings, an array's bytes among them, are of the code that keeps every byte.
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        # Nothing is imported or looked up here, whatever the names are.
        if module == "pandas" or module.startswith("pandas."):
            return type(name, (_Recorded,), {"origin": f"{module}.{name}"})
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise SymadjError(
            f"the pickle asks for {module}.{name}; only pandas and NumPy arrays are opened. It is "
            "not the archive's file: remove it and run `symadj-data fetch maf` again."
        )


def _frame(recorded: Any) -> pd.DataFrame:
    if not isinstance(recorded, _Recorded) or type(recorded).__name__ != "DataFrame":
        raise SymadjError(f"holds {type(recorded).__name__}, where a DataFrame is needed.")
    names, blocks = _contents(_manager(recorded.state))
    rows = len(blocks[0][0].T) if blocks else 0
    values = np.zeros((rows, len(names)))
    filled = np.zeros(len(names), dtype=bool)
    for block, places in blocks:
        _check_block(block, rows)
        values[:, places] = block.T
        filled[places] = True
    if not filled.all():
        raise SymadjError("leaves columns of the table without values.")
    return pd.DataFrame(values, columns=names)


def _manager(state: Any) -> _Recorded:
    """The BlockManager in a frame's state: the state itself before pandas 0.17, then an entry."""
    return state if isinstance(state, _Recorded) else state.get("_mgr") or state["_data"]


def _contents(manager: _Recorded) -> tuple[list[str], list[tuple[NDArray[Any], Any]]]:
    """The columns' names and the blocks (values [columns, rows], places of the columns)."""
    if manager.args:  # pandas 1.3 and later: BlockManager(blocks, axes)
        blocks, axes = manager.args[:2]
        return _labels(axes[0]), [block.args[:2] for block in blocks]
    content = manager.state[3]["0.14.1"]  # the key that pandas 0.14.1 to 1.2 write
    return _labels(content["axes"][0]), [(b["values"], b["mgr_locs"]) for b in content["blocks"]]


def _labels(index: _Recorded) -> list[str]:
    """The labels of a recorded Index of texts."""
    if index.args:  # _new_Index(class, fields)
        return [str(label) for label in _array(index.args[1]["data"])]
    _, _, _, _, labels = index.state[0]  # an array's state: Index was an array before 0.15
    return [str(label) for label in labels]


def _array(data: Any) -> NDArray[Any]:
    """An array as it is, or the one inside a recorded array of pandas."""
    if isinstance(data, np.ndarray):
        return data
    found = [part for part in data.state if isinstance(part, np.ndarray)]
    if len(found) != 1:
        raise SymadjError(f"has column names of a kind that is not known ({data.origin}).")
    return found[0]


def _check_block(block: Any, rows: int) -> None:
    if not isinstance(block, np.ndarray) or block.dtype.kind not in "fiu":
        raise SymadjError("has columns that are no real numbers.")
    if block.ndim != 2 or block.shape[1] != rows:
        raise SymadjError(f"has a block of shape {block.shape} in a table of {rows} rows.")
