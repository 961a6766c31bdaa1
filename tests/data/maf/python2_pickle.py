"""Writes a DataFrame as pandas 0.19 under Python 2.7 did: the form of the archive's GAS file.

The layout is that of pandas' own test file 0.19.2_x86_64_darwin_2.7.12.pickle: protocol 2, texts
as Python 2 strings, modules under their old names.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


class Global:
    """A class or function by the name under which Python 2 finds it."""

    def __init__(self, module: str, name: str) -> None:
        self.text = f"c{module}\n{name}\n".encode()


class Call:
    """A value that is made by calling something, and then given a state."""

    def __init__(self, function: Global, args: tuple, state: Any = None, new: bool = False) -> None:
        self.function, self.args, self.state, self.new = function, args, state, new


def old_pickle(columns: dict[str, np.ndarray]) -> bytes:
    """The pickle of a table whose row labels are whole numbers in no order."""
    values = np.array(list(columns.values()))
    rows = np.arange(values.shape[1])[::-1].copy()
    axes = [_index("Index", np.array(list(columns), dtype=object)), _index("Int64Index", rows)]
    blocks = [{"mgr_locs": _slice(len(columns)), "values": values}]
    state = (axes, [values], [axes[0]], {"0.14.1": {"axes": axes, "blocks": blocks}})
    manager = Call(Global("pandas.core.internals", "BlockManager"), (), state, new=True)
    frame = {"_metadata": [], "_typ": "dataframe", "_data": manager}
    whole = Call(Global("pandas.core.frame", "DataFrame"), (), frame, new=True)
    return b"\x80\x02" + dump(whole) + b"."


def _index(kind: str, data: np.ndarray) -> Call:
    module = "pandas.indexes.base" if kind == "Index" else "pandas.indexes.numeric"
    arguments = (Global(module, kind), {"data": data, "name": None})
    return Call(Global("pandas.indexes.base", "_new_Index"), arguments)


def _slice(stop: int) -> Call:
    return Call(Global("__builtin__", "slice"), (0, stop, 1))


def dump(value: Any) -> bytes:
    """The instructions that put a value on the unpickler's stack."""
    if isinstance(value, Global):
        return value.text
    if isinstance(value, Call):
        made = dump(value.function) + dump(value.args) + (b"\x81" if value.new else b"R")
        return made if value.state is None else made + dump(value.state) + b"b"
    if isinstance(value, np.ndarray):
        return dump(_array(value))
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, (str, bytes)):
        raw = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(value, dict):
        return b"}(" + b"".join(dump(k) + dump(v) for k, v in value.items()) + b"u"
    opening, closing = (b"(", b"t") if isinstance(value, tuple) else (b"](", b"e")
    return opening + b"".join(map(dump, value)) + closing


def _array(array: np.ndarray) -> Call:
    objects = array.dtype == object
    code, order = ("O8", "|") if objects else (array.dtype.str[1:], "<")
    flags = 63 if objects else 0
    dtype_state = (3, order, None, None, None, -1, -1, flags)
    dtype = Call(Global("numpy", "dtype"), (code, 0, 1), dtype_state)
    content = array.tolist() if objects else array.tobytes()
    made = (Global("numpy", "ndarray"), (0,), b"b")
    return Call(
        Global("numpy.core.multiarray", "_reconstruct"),
        made,
        (1, array.shape, dtype, False, content),
    )
