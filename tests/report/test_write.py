from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

import symadj.report.write as write
from symadj.errors import InputError, StorageError
from symadj.report.cell import Cell
from symadj.report.write import to_csv, to_latex, to_markdown, write_figures, write_table

LOW, HIGH = Cell(1.25, 0.1, 3), Cell(2.5, 0.3, 2, failures=(("OOM", 1),))


def table() -> pd.DataFrame:
    """Two methods, two data sets, one quantity."""
    columns = pd.MultiIndex.from_tuples(
        [("gas_1", "nll (nats)"), ("power", "nll (nats)")], names=["data", None]
    )
    rows = [[LOW, Cell()], [Cell(3.75, None, 1), Cell(failures=(("step limit", 2),))]]
    return pd.DataFrame(rows, index=pd.Index(["aca", "a|b"], name="grad"), columns=columns)


def test_markdown_is_aligned_and_has_headers_title_and_notes() -> None:
    assert to_markdown(table(), title="Costs", mark_best=True, notes=["A note."]) == (
        "**Costs**\n\n"
        "| grad |     gas_1: nll (nats) | power: nll (nats) |\n"
        "|------|----------------------:|------------------:|\n"
        "| aca  | **1.25 ± 0.10 (n=3)** |                 – |\n"
        "| a\\|b |           3.750 (n=1) |      2 step limit |\n\n"
        "A note.\n"
    )


def test_latex_is_booktabs_with_spanning_heads() -> None:
    assert to_latex(table(), mark_best=True) == (
        "% Needs \\usepackage{booktabs}.\n"
        "\\begin{tabular}{lrr}\n"
        "\\toprule\n"
        " & \\multicolumn{1}{c}{gas\\_1} & \\multicolumn{1}{c}{power} \\\\\n"
        "\\cmidrule(lr){2-2} \\cmidrule(lr){3-3}\n"
        "grad & nll (nats) & nll (nats) \\\\\n"
        "\\midrule\n"
        "aca & $\\mathbf{1.25 \\pm 0.10}$ (n=3) & -- \\\\\n"
        "a\\textbar{}b & $3.750$ (n=1) & 2 step limit \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}\n"
    )


def test_a_latex_title_becomes_an_escaped_caption_and_notes_stay_comments() -> None:
    text = to_latex(table(), title="50% & more", notes=["two\nlines"])
    assert r"\caption{50\% \& more}" in text
    assert "% two lines\n" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1


def test_heads_span_all_columns_that_share_them() -> None:
    columns = pd.MultiIndex.from_tuples([("x", "a"), ("x", "b"), ("y", "a")])
    text = to_latex(pd.DataFrame([[1, 2, 3]], columns=columns))
    assert r" & \multicolumn{2}{c}{x} & \multicolumn{1}{c}{y} \\" in text
    assert r"\cmidrule(lr){2-3} \cmidrule(lr){4-4}" in text


def test_nothing_is_bold_unless_asked_for() -> None:
    assert "**" not in to_markdown(table())
    assert "mathbf" not in to_latex(table())


def test_csv_has_the_raw_numbers_and_the_failures_of_every_cell() -> None:
    mean = 1 / 3
    frame = table()
    frame.iloc[0, 1] = Cell(mean, 0.1, 4, quartiles=(0.2, 0.6), failures=(("OOM", 2),))
    rows = list(csv.DictReader(io.StringIO(to_csv(frame))))
    assert len(rows) == 4
    assert [row["grad"] for row in rows] == ["aca", "aca", "a|b", "a|b"]
    assert rows[1]["data"] == "power"
    assert rows[1]["cell"] == "nll (nats)"
    assert float(rows[1]["mean"]) == mean
    assert (rows[1]["n"], rows[1]["q1"], rows[1]["q3"]) == ("4", "0.2", "0.6")
    assert rows[1]["failures"] == "OOM:2"
    assert rows[3]["mean"] == ""


def test_frames_of_plain_values_can_be_written_too(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.5], "b": ["x_y"]}, index=pd.Index(["r"], name="k"))
    write_table(frame, tmp_path)
    assert (tmp_path / "table.csv").read_text() == "k,a,b\nr,1.5,x_y\n"
    assert "| r |" in (tmp_path / "table.md").read_text()
    assert r"r & 1.5 & x\_y \\" in (tmp_path / "table.tex").read_text()


def test_files_are_made_with_their_folder_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "er"
    paths = write_table(table(), folder, "costs", formats=("md", "csv"))
    assert paths == [folder / "costs.md", folder / "costs.csv"]
    assert sorted(folder.iterdir()) == sorted(paths)


def test_an_unknown_format_is_answered_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'latex'.*tex"):
        write_table(table(), tmp_path / "new", formats=("csv", "latex"))
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_table(table(), tmp_path / "file" / "below")


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "table.md").write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"table\.md cannot be written: the disk is full"):
        write_table(table(), tmp_path, formats=("md",))
    assert [path.name for path in tmp_path.iterdir()] == ["table.md"]
    assert (tmp_path / "table.md").read_text() == "old"


def test_figures_are_png_and_pdf_and_the_same_each_time(tmp_path: Path) -> None:
    def drawn(folder: Path) -> list[bytes]:
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([1, 2])
        return [path.read_bytes() for path in write_figures({"a": figure}, folder)]

    first, second = drawn(tmp_path / "1"), drawn(tmp_path / "2")
    assert first[0].startswith(b"\x89PNG")
    assert first[1].startswith(b"%PDF")
    assert first == second
    assert write.FIGURE_FORMATS == ("png", "pdf")


def test_a_text_that_a_spreadsheet_would_run_is_written_as_a_text() -> None:
    names = ["=cmd|' /C calc'!A0", "@SUM(A1)", "-2.5", "plain"]
    frame = pd.DataFrame({"+x": ["=1+1", "-1", "a", "b"], "y": [-1.5, 2, 3, 4]}, index=names)
    lines = to_csv(frame).splitlines()
    assert lines[0] == ",'+x,y"
    assert [line.split(",")[0] for line in lines[1:]] == [
        *("'=cmd|' /C calc'!A0", "'@SUM(A1)", "-2.5", "plain"),
    ]
    assert [line.split(",")[1:] for line in lines[1:3]] == [["'=1+1", "-1.5"], ["-1", "2.0"]]
