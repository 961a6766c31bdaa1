"""The reader of GAS's pickle: old and new tables, and nothing else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from symadj.data.maf.pickle import read_frame
from symadj.errors import SymadjError
from tests.data.maf.python2_pickle import Call, Global, dump, old_pickle

RNG = np.random.default_rng(0)
COLUMNS = {name: RNG.normal(size=7) for name in ("Time", "Meth", "R1")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "table.pickle"


def test_a_table_of_old_pandas_under_python_2_is_read(file: Path) -> None:
    file.write_bytes(old_pickle(COLUMNS))
    pd.testing.assert_frame_equal(read_frame(file), pd.DataFrame(COLUMNS))


def test_bytes_of_every_value_survive(file: Path) -> None:
    """Python 2 keeps an array as a string; every byte from 0 to 255 must come back."""
    values = np.frombuffer(bytes(range(256)) * 2, dtype=np.int32).astype(np.float64)
    raw = np.frombuffer(bytes(range(8, 256)), dtype=np.float64)
    raw = np.where(np.isfinite(raw), raw, 0.0)
    for column in (values, raw):
        file.write_bytes(old_pickle({"a": column}))
        assert read_frame(file)["a"].to_numpy().tobytes() == column.tobytes()


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_table_of_today_is_read_in_the_frame_s_order(file: Path, protocol: int) -> None:
    frame = pd.DataFrame(COLUMNS, index=[5, 3, 1, 0, 2, 4, 6])
    frame.insert(1, "count", np.arange(7))  # a second block, between the others
    frame["small"] = np.arange(7, dtype=np.float32)
    frame.to_pickle(file, protocol=protocol)
    expected = frame.reset_index(drop=True).astype(np.float64)
    pd.testing.assert_frame_equal(read_frame(file), expected, check_column_type=False)


class Touch:
    """Pickles as an order to make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def test_a_malicious_pickle_is_refused_and_runs_nothing(file: Path, tmp_path: Path) -> None:
    file.write_bytes(pickle.dumps(Touch(tmp_path / "made")))
    with pytest.raises(SymadjError, match=r"asks for posix\.system; only pandas and NumPy"):
        read_frame(file)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("os", "system"),
        ("numpy", "load"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.f2py", "compile"),
        ("pandasx", "f"),
    ],
)
def test_no_other_name_is_looked_up(file: Path, module: str, name: str) -> None:
    file.write_bytes(b"\x80\x02" + dump(Call(Global(module, name), ("1",))) + b".")
    with pytest.raises(SymadjError, match="only pandas and NumPy arrays are opened"):
        read_frame(file)


@pytest.mark.parametrize("name", ["eval", "read_pickle", "io.common.os.system"])
def test_functions_of_pandas_are_not_run(file: Path, tmp_path: Path, name: str) -> None:
    """They are recorded like classes: the file is no table, and nothing happens."""
    victim = tmp_path / "made"
    (tmp_path / "inner").write_bytes(pickle.dumps(Touch(victim)))
    argument = {"eval": f"@open('{victim}', 'w')", "read_pickle": str(tmp_path / "inner")}
    order = Call(Global("pandas", name), (argument.get(name, f"touch '{victim}'"),))
    file.write_bytes(b"\x80\x04" + dump(order) + b".")
    with pytest.raises(SymadjError, match="a DataFrame is needed"):
        read_frame(file)
    assert not victim.exists()


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame({"a": ["x", "y"]}),
        pd.DataFrame({"a": [1.0, 2.0], "b": [True, False]}),
        pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}),
        pd.DataFrame({"a": np.array([1j, 2])}),
    ],
)
def test_columns_that_are_no_real_numbers_are_refused(file: Path, frame: pd.DataFrame) -> None:
    frame.to_pickle(file)
    with pytest.raises(SymadjError):
        read_frame(file)


def test_a_pickle_of_something_else_is_named(file: Path) -> None:
    pd.Series([1.0]).to_pickle(file)
    with pytest.raises(SymadjError, match="holds Series, where a DataFrame is needed"):
        read_frame(file)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_damaged_file_is_named(file: Path, keep: int) -> None:
    file.write_bytes(old_pickle(COLUMNS)[:keep])
    with pytest.raises(SymadjError, match=r"table\.pickle.* is damaged"):
        read_frame(file)
