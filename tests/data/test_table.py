"""The user's own file: what is read, how it is scaled, and what each bad file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from symadj.data.table import Table, read_table
from symadj.errors import InputError


def values(rows: int = 40, columns: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, columns)) * [1, 10, 100] + [0, 5, -3]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def saved(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


def as_csv(array: np.ndarray, header: str = "") -> str:
    lines = [",".join(repr(float(v)) for v in row) for row in array]
    return "\n".join([header, *lines] if header else lines) + "\n"


def in_file_units(table: Table) -> np.ndarray:
    x = torch.cat([table.train, table.val, table.test]).double()
    return (x * table.std + table.mean).numpy()


@pytest.mark.parametrize("kind", ["csv", "bare csv", "npy", "integers"])
def test_every_row_and_column_is_read(kind: str, tmp_path: Path) -> None:
    x = values()
    if kind == "integers":
        x = x.round()
    path = {
        "csv": lambda: write(tmp_path / "t.csv", as_csv(x, "a,b,c")),
        "bare csv": lambda: write(tmp_path / "t.csv", as_csv(x)),
        "npy": lambda: saved(tmp_path / "t.npy", x),
        "integers": lambda: saved(tmp_path / "t.npy", x.astype(np.int32)),
    }[kind]()
    table = Table(path, seed=1)
    assert (len(table.train), len(table.val), len(table.test)) == (32, 4, 4)
    back = in_file_units(table)
    np.testing.assert_allclose(np.sort(back, axis=0), np.sort(x, axis=0), rtol=1e-14, atol=1e-14)
    named = ("a", "b", "c") if kind == "csv" else ("column 1", "column 2", "column 3")
    assert table.columns == named
    assert table.dim == 3


def test_the_training_split_alone_standardises(tmp_path: Path) -> None:
    table = Table(saved(tmp_path / "t.npy", values()), seed=1)
    zeros = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(table.train.mean(0), zeros, rtol=0, atol=1e-14)
    torch.testing.assert_close(table.train.std(0, correction=0), zeros + 1)
    assert table.val.mean(0).abs().max() > 0.01
    raw = torch.from_numpy(in_file_units(table)[:32])
    torch.testing.assert_close(raw.std(0, correction=0), table.std, rtol=1e-5, atol=0)
    assert table.log_scale == pytest.approx(table.std.log().sum().item())


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    path = saved(tmp_path / "t.npy", values())
    assert torch.equal(Table(path, seed=1).test, Table(path, seed=1).test)
    first, second = in_file_units(Table(path, 1)), in_file_units(Table(path, 2))
    assert not np.allclose(first, second)


def test_numbers_counted_from_zero_are_names_as_pandas_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    pd.DataFrame(values()).to_csv(path, index=False)
    table = Table(str(path))
    assert table.columns == ("0", "1", "2")
    assert len(table.train) == 32


GOOD = as_csv(values(), "a,b,c")
BAD_CSV = {
    "empty": ("", "is empty"),
    "blank lines": ("\n\n", "is empty"),
    "names only": ("a,b\n", r"is empty \(0 rows"),
    "one row": ("a,b\n1,2\n", "has 1 row; at least 10"),
    "nine rows": (as_csv(values(9)), "has 9 rows; at least 10"),
    "text": (GOOD + "1,x,2\n", r"1 column not numeric: 'b' \('x' in row 41\)"),
    "truth values": (
        "a,b\n" + "".join(f"{i},{i % 2 == 0}\n" for i in range(20)),
        r"'b' \('True' in row 1\)",
    ),
    "semicolons": ("a;b\n" + "1;2\n" * 20, "'a;b'"),
    "missing": (GOOD + "1,,2\n1,2,NA\n1,2,inf\n", "3 rows of 43 .*: 41, 42, 43 "),
    "short line": (GOOD + "1,2\n", "1 row of 41 .*: 41 "),
    "many missing": ("a,b\n" + "1,\n" * 14, r"14 rows of 14 .* 9, 10 and 4 more"),
    "long line": (GOOD + "1,2,3,4\n", "Expected 3 fields in line 42, saw 4"),
    "too few names": ("a,b\n" + "1,2,3\n" * 20, "more cells than the first line"),
    "an index": (pd.DataFrame(values()).to_csv(), "leaves column 1 blank"),
    "constant": (
        "a,b\n" + "".join(f"{i},0.1\n" for i in range(20)),
        "1 column constant in the training split.*'b'",
    ),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_a_bad_csv_is_refused_and_told_why(case: str, tmp_path: Path) -> None:
    text, said = BAD_CSV[case]
    with pytest.raises(InputError, match=said) as caught:
        Table(write(tmp_path / "bad.csv", text))
    assert "bad.csv" in str(caught.value)


def test_at_most_ten_columns_are_listed(tmp_path: Path) -> None:
    frame = pd.DataFrame({f"c{i}": ["x"] * 20 for i in range(13)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(InputError, match=r"13 columns not numeric: 'c0'.*'c9' .* and 3 more"):
        Table(str(tmp_path / "t.csv"))


BAD_ARRAYS = {
    "objects": (np.array([{}], dtype=object), "Python objects, which are not opened"),
    "complex": (values() + 1j, "dtype complex128"),
    "truth values": (values() > 0, "dtype bool"),
    "texts": (np.array([["a"]]), "dtype <U1"),
    "one dimension": (values()[0], r"shape \(3,\)"),
    "three dimensions": (values()[None], r"shape \(1, 40, 3\)"),
    "no columns": (values()[:, :0], "is empty"),
    "no rows": (values()[:0], "is empty"),
    "NaN": (np.where(values() == values()[6], np.nan, values()), "1 row of 40 .*: 7 "),
    "huge": (values() * 1e300, "deviation cannot be represented"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_a_bad_array_is_refused_and_told_why(case: str, tmp_path: Path) -> None:
    array, said = BAD_ARRAYS[case]
    with pytest.raises(InputError, match=said):
        Table(saved(tmp_path / "bad.npy", array))


def test_a_damaged_or_foreign_npy_is_refused(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path / "whole.npy", values())).read_bytes()
    for name, content in (("cut", whole[:300]), ("text", b"hello"), ("nothing", b"")):
        (tmp_path / f"{name}.npy").write_bytes(content)
        with pytest.raises(InputError, match=rf"{name}\.npy"):
            Table(str(tmp_path / f"{name}.npy"))
    np.savez(tmp_path / "archive.npz", values())
    (tmp_path / "archive.npz").rename(tmp_path / "archive.npy")
    with pytest.raises(InputError, match="archive of arrays"):
        Table(str(tmp_path / "archive.npy"))


def test_a_path_that_leads_to_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Table(str(tmp_path / "none.csv"))
    with pytest.raises(InputError, match="is no file"):
        Table(str(tmp_path))
    with pytest.raises(InputError, match=r"Allowed: \.csv .* \.npy"):
        Table(write(tmp_path / "t.txt", GOOD))
    (tmp_path / "latin.csv").write_bytes(b"a,b\n1,\xff\n")
    with pytest.raises(InputError, match="UTF-8"):
        Table(str(tmp_path / "latin.csv"))


@pytest.mark.parametrize("header", ["2019,2020,2021", "10,20,30", "7,3"])
def test_a_first_line_of_numbers_that_may_be_names_is_asked_about(
    tmp_path: Path, header: str
) -> None:
    columns = header.count(",") + 1
    path = write(tmp_path / "t.csv", as_csv(values()[:, :columns], header))
    with pytest.raises(InputError, match=r"data\.header=true \(names\) or data\.header=false"):
        Table(path)
    assert Table(path, header=True).columns == tuple(header.split(","))
    assert len(read_table(path, header=False)[0]) == len(read_table(path, header=True)[0]) + 1


def test_whole_numbers_above_whole_numbers_are_values(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).integers(0, 100, size=(20, 4))
    text = "\n".join(",".join(map(str, row)) for row in rows)
    assert len(read_table(write(tmp_path / "t.csv", text))[0]) == 20


def test_a_table_of_a_million_columns_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "wide.csv", (",".join(["0.5"] * 1_000_000) + "\n") * 2)
    with pytest.raises(InputError, match=r"has 1,000,000 columns; at most 10,000"):
        Table(path)
    with pytest.raises(InputError, match="20,000 columns"):
        Table(saved(tmp_path / "wide.npy", np.zeros((10, 20_000))))


def test_an_array_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path / "claim.npy", np.zeros((10, 10))))
    path.write_bytes(path.read_bytes().replace(b"(10, 10), }     ", b"(9999999999,), }"))
    with pytest.raises(InputError, match="no whole array"):
        Table(str(path))


def test_a_column_of_classes_is_no_part_of_the_vectors(tmp_path: Path) -> None:
    x = values()[:, :2]
    kinds = np.random.default_rng(1).choice([2, 5, -1], size=40)
    path = write(tmp_path / "t.csv", as_csv(np.insert(x, 1, kinds, axis=1), "a,kind,b"))
    table = Table(path, seed=1, label="kind")
    assert (table.dim, table.classes, table.columns) == (2, 3, ("a", "b"))
    assert "3 classes, the values -1, 2, 5 of 'kind'" in table.note
    known = {round(float(row[0]), 9): kind for row, kind in zip(x, kinds, strict=True)}
    labels = torch.cat([table.labels[name] for name in ("train", "val", "test")]).tolist()
    for row, label in zip(in_file_units(table), labels, strict=True):
        assert known[round(float(row[0]), 9)] == [-1, 2, 5][label]
    plain = Table(write(tmp_path / "u.csv", as_csv(x, "a,b")), seed=1)
    assert torch.equal(plain.train, table.train)


@pytest.mark.parametrize(
    ("label", "said"), [("kin", r"no such column.*'kind'"), ("a", r"holds 40 different values")]
)
def test_a_label_that_is_no_column_of_classes(label: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", as_csv(values().round(3), "a,kind,b"))
    with pytest.raises(InputError, match=rf"label={label}: .*{said}"):
        Table(path, label=label)


def test_a_column_of_classes_alone_is_nothing_to_learn(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "kind\n" + "0\n1\n" * 10)
    with pytest.raises(InputError, match="no other column to learn"):
        Table(path, label="kind")
