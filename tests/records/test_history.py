from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symadj.errors import InputError
from symadj.ode.stats import SolveStats
from symadj.records.history import History, Row, columns, read_history

STATS = SolveStats(accepted=4, rejected=1, forward=26, recomputed=20, with_graph=24, vjps=24)


def row(iteration: int, loss: float = 1.5, **more) -> Row:
    return Row(iteration, iteration * 0.5, loss, 0.25, STATS, 1e-3, **more)


def write(path: Path, rows: list[Row], keep: int = 0) -> None:
    history = History(path, "nll", keep)
    for one in rows:
        history.append(one)
    history.commit()
    history.close()


def test_a_row_is_on_disk_at_once_with_all_columns(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    history = History(path, "nll")
    history.commit()
    history.append(row(1))
    history.append(row(2, validation=0.125, memory_bytes=4096))
    table = read_history(path)  # the file is still open
    history.close()
    assert tuple(table.columns) == columns("nll")
    assert table["iteration"].tolist() == [1, 2]
    assert table["forward"].tolist() == [26, 26]
    assert table["rejected"].tolist() == [1, 1]
    assert table["val_nll"].isna().tolist() == [True, False]
    assert table["val_nll"][1] == 0.125
    assert table["memory_bytes"][1] == 4096


@given(loss=st.floats(allow_nan=False, allow_infinity=False))
def test_losses_are_written_bit_for_bit(tmp_path_factory, loss: float) -> None:
    path = tmp_path_factory.mktemp("h") / "history.csv"
    write(path, [row(1, loss)])
    text = path.read_text().splitlines()[1].split(",")[2]
    assert float(text) == loss


def test_a_resumed_history_drops_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(i, float(i)) for i in range(1, 6)])
    with path.open("a") as file:
        file.write("6,3.0,0.1")  # cut off by a kill
    write(path, [row(4, 40.0)], keep=3)
    assert read_history(path)["loss"].tolist() == [1.0, 2.0, 3.0, 40.0]


def test_the_old_rows_stay_until_the_new_ones_are_saved(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(i) for i in range(1, 6)])
    old = path.read_bytes()
    history = History(path, "nll", keep=3)
    history.append(row(4, 40.0))
    assert path.read_bytes() == old
    history.commit()
    assert read_history(path)["loss"].tolist() == [1.5, 1.5, 1.5, 40.0]
    history.append(row(5, 50.0))
    history.close()
    assert read_history(path)["loss"].tolist() == [1.5, 1.5, 1.5, 40.0, 50.0]


def test_a_validation_that_comes_later_is_in_its_iterations_row(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(1), row(2)])
    history = History(path, "nll", keep=2)
    history.validated(2, 0.25)
    history.commit()
    history.append(row(3))
    history.validated(3, 0.125)
    history.commit()
    history.close()
    assert read_history(path)["val_nll"].tolist()[1:] == [0.25, 0.125]
    assert read_history(path)["iteration"].tolist() == [1, 2, 3]


def test_rows_that_are_missing_are_known(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(i) for i in (1, 2, 4, 6)])
    assert History(path, "nll", keep=5).missing == [3, 5]
    assert History(tmp_path / "none.csv", "nll", keep=2).missing == [1, 2]


def test_a_last_row_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(1), row(2)])
    text = path.read_text()
    path.write_text(text[: text.rindex(",", 0, len(text) - 30)])
    assert read_history(path)["iteration"].tolist() == [1]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", None])
def test_a_file_that_is_no_history_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "history.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"history\.csv is no history"):
        read_history(path)


def test_what_a_task_tracks_has_columns_behind_the_others(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write(path, [row(1), row(2, validation=0.5)])
    history = History(path, "nll", 2, ("gap", "other"))
    history.validated(1, 0.75, (0.25, -1.0))
    history.append(row(3))
    history.commit()
    history.append(row(4, validation=0.5, tracked=(0.125, 2.0)))
    history.close()
    table = read_history(path)
    assert tuple(table.columns) == columns("nll", ("gap", "other"))
    assert table["iteration"].tolist() == [1, 2, 3, 4]
    assert table["gap"].fillna(9).tolist() == [0.25, 9, 9, 0.125]
    assert table["other"].fillna(9).tolist() == [-1, 9, 9, 2]
    write(path, [row(5)], keep=4)
    table = read_history(path)
    assert tuple(table.columns) == columns("nll")
    assert table["val_nll"].fillna(9).tolist() == [0.75, 0.5, 9, 0.5, 9]
