"""Tables as CSV, Markdown and LaTeX, figures as PNG and PDF; each file whole or not there."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from symadj.errors import InputError, StorageError, suggest
from symadj.files import write_atomically, write_text
from symadj.report.cell import Cell, escape
from symadj.report.tables import best

FIGURE_FORMATS = ("png", "pdf")


def to_csv(table: pd.DataFrame) -> str:
    """The raw numbers, unrounded: one line per cell, with its row, its column and its header.

    A table that holds no `Cell` is written as it is.
    """
    if not _has_cells(table):
        return table.map(_plain).rename(index=_plain, columns=_plain).to_csv(lineterminator="\n")
    rows, columns = _names(table.index), _names(table.columns)[:-1]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [*rows, *columns, "cell", "mean", "std", "n", "q1", "q3", "failures", "word"]
    writer.writerow(map(_plain, head))
    for row, values in zip(_labels(table.index), table.to_numpy(), strict=True):
        for column, cell in zip(_labels(table.columns), values, strict=True):
            writer.writerow(map(_plain, [*row, *column, *_raw(cell)]))
    return out.getvalue()


def _plain(cell: Any) -> Any:
    """A cell as no spreadsheet takes it for a formula: an apostrophe before =, +, - and @.

    Numbers stay what they are, negative ones too.
    """
    if not isinstance(cell, str) or not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def to_markdown(
    table: pd.DataFrame, *, title: str = "", mark_best: bool = False, notes: Sequence[str] = ()
) -> str:
    """A table that reads well as plain text too: its columns are aligned.

    Args:
        table: of `Cell`, or of anything that has a text.
        title: a line above it.
        mark_best: whether the best cell of each column is bold.
        notes: lines below it.
    """
    bold = _marks(table, mark_best)
    head = [*_names(table.index), *(": ".join(_head(c)) for c in _labels(table.columns))]
    body = [
        [*row, *(f"**{cell}**" if strong else str(cell) for cell, strong in cells)]
        for row, cells in _lines(table, bold)
    ]
    lines = [[_one_line(text).replace("|", "\\|") for text in line] for line in [head, *body]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    left = table.index.nlevels
    rule = ["-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths)]
    text = [_row(line, widths, left) for line in lines]
    text.insert(1, f"|{'|'.join(rule)}|")
    parts = [f"**{_one_line(title)}**"] if title else []
    parts += ["\n".join(text), *notes]
    return "\n\n".join(parts) + "\n"


def to_latex(
    table: pd.DataFrame, *, title: str = "", mark_best: bool = False, notes: Sequence[str] = ()
) -> str:
    """A booktabs table; with a title it floats, with the title as its caption.

    Args:
        table, title, mark_best, notes: as for `to_markdown`; the notes become comments.
    """
    bold = _marks(table, mark_best)
    body = [
        " & ".join([*map(escape, row), *(_latex(cell, strong) for cell, strong in cells)]) + r" \\"
        for row, cells in _lines(table, bold)
    ]
    aligned = "l" * table.index.nlevels + "r" * table.shape[1]
    lines = [
        rf"\begin{{tabular}}{{{aligned}}}",
        r"\toprule",
        *_latex_head(table),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    if title:
        caption = rf"\caption{{{escape(title)}}}"
        lines = [r"\begin{table}", r"\centering", caption, *lines, r"\end{table}"]
    comments = [f"% {_one_line(note)}" for note in ("Needs \\usepackage{booktabs}.", *notes)]
    return "\n".join([*comments, *lines]) + "\n"


def write_table(
    table: pd.DataFrame,
    folder: Path,
    stem: str = "table",
    *,
    formats: Iterable[str] = ("csv", "md", "tex"),
    title: str = "",
    mark_best: bool = False,
    notes: Sequence[str] = (),
) -> list[Path]:
    """Writes `folder/stem.csv`, `.md` and `.tex`; the folder is made where it is not there.

    Returns:
        The files written.

    Raises:
        InputError: a format that does not exist, or a folder that cannot be written.
    """
    writers: dict[str, Callable[[], str]] = {
        "csv": lambda: to_csv(table),
        "md": lambda: to_markdown(table, title=title, mark_best=mark_best, notes=notes),
        "tex": lambda: to_latex(table, title=title, mark_best=mark_best, notes=notes),
    }
    formats = tuple(formats)
    for name in formats:
        if name not in writers:
            raise InputError(f"unknown table format {name!r}.{suggest(name, writers)}")
    texts = {folder / f"{stem}.{name}": writers[name]() for name in formats}
    return _write(folder, {path: _text_writer(path, text) for path, text in texts.items()})


def write_figures(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Writes each figure as `folder/stem.png` and `.pdf`; the same figure gives the same bytes.

    Returns:
        The files written.

    Raises:
        InputError: a folder that cannot be written.
    """
    jobs = {
        folder / f"{stem}.{kind}": _figure_writer(folder / f"{stem}.{kind}", figure, kind)
        for stem, figure in figures.items()
        for kind in FIGURE_FORMATS
    }
    return _write(folder, jobs)


def _write(folder: Path, jobs: Mapping[Path, Callable[[], None]]) -> list[Path]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs.values():
            job()
    except StorageError:
        raise
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); give another directory."
        ) from error
    return list(jobs)


def _text_writer(path: Path, text: str) -> Callable[[], None]:
    return lambda: write_text(path, text)


def _figure_writer(path: Path, figure: Figure, kind: str) -> Callable[[], None]:
    # A PDF's date of creation would make a new file of every drawing of the same figure.
    metadata: dict[str, Any] = {"CreationDate": None} if kind == "pdf" else {}
    return lambda: write_atomically(
        path, lambda file: figure.savefig(file, format=kind, dpi=200, metadata=metadata)
    )


def _has_cells(table: pd.DataFrame) -> bool:
    return any(isinstance(cell, Cell) for cell in table.to_numpy().flat)


def _marks(table: pd.DataFrame, mark_best: bool) -> Any:
    return best(table).to_numpy() if mark_best else [[False] * table.shape[1]] * len(table)


def _names(index: pd.Index) -> list[str]:
    return ["" if name is None else str(name) for name in index.names]


def _labels(index: pd.Index) -> list[tuple[str, ...]]:
    return [tuple(map(str, i)) if isinstance(i, tuple) else (str(i),) for i in index]


def _lines(table: pd.DataFrame, bold: Any) -> list[tuple[tuple[str, ...], list[tuple[Any, bool]]]]:
    return [
        (row, list(zip(cells, strong, strict=True)))
        for row, cells, strong in zip(_labels(table.index), table.to_numpy(), bold, strict=True)
    ]


def _head(column: Sequence[str]) -> list[str]:
    *above, header = column
    return [", ".join(above), header] if above else [header]


def _raw(cell: Any) -> list[Any]:
    if not isinstance(cell, Cell):
        return [None, None, None, None, None, None, cell]
    failures = " ".join(f"{what}:{number}" for what, number in cell.failures)
    low, high = cell.quartiles or (None, None)
    return [cell.mean, cell.std, cell.n, low, high, failures, cell.word]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _row(texts: Sequence[str], widths: Sequence[int], left: int) -> str:
    padded = [
        text.ljust(width) if i < left else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _latex(cell: Any, bold: bool) -> str:
    return cell.latex(bold=bold) if isinstance(cell, Cell) else escape(str(cell))


def _latex_head(table: pd.DataFrame) -> list[str]:
    """A line per level of the columns; equal neighbours share a cell and a rule below it."""
    left, columns = table.index.nlevels, _labels(table.columns)
    lines: list[str] = []
    for level in range(table.columns.nlevels - 1):
        spans = _spans([column[: level + 1] for column in columns])
        cells = [
            rf"\multicolumn{{{end - start}}}{{c}}{{{escape(columns[start][level])}}}"
            for start, end in spans
        ]
        rules = [rf"\cmidrule(lr){{{start + left + 1}-{end + left}}}" for start, end in spans]
        lines += [" & ".join([""] * left + cells) + r" \\", " ".join(rules)]
    last = [escape(text) for text in (*_names(table.index), *(c[-1] for c in columns))]
    return [*lines, " & ".join(last) + r" \\"]


def _spans(labels: Sequence[tuple[str, ...]]) -> list[tuple[int, int]]:
    starts = [i for i, label in enumerate(labels) if i == 0 or label != labels[i - 1]]
    return list(zip(starts, [*starts[1:], len(labels)], strict=True))
