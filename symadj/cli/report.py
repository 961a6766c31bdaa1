"""`symadj-report`: gathers runs into a table and plots; it reads records and runs nothing."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import symadj
from symadj.cli.ladder import OK, run_command
from symadj.errors import InputError
from symadj.report.frames import where
from symadj.report.load import (
    Skipped,
    SkippedFileWarning,
    load_histories,
    load_rollouts,
    load_runs,
)
from symadj.report.names import ALIASES, labels, text_of
from symadj.report.plots import report_figures
from symadj.report.tables import differing, latest, pivot
from symadj.report.write import to_markdown, write_figures, write_table
from symadj.terminal import complain, say

NAME = "symadj-report"
SKIPPED = 1

PURPOSE = """\
Gathers the records of runs, finished, failed or cut off, into a table: mean ± standard deviation
and the number of runs n in each cell, failures (OOM, step limit, ...) as cells, a dash where there
is no run. Prints it as Markdown; with --out writes CSV, Markdown, LaTeX and plots."""

EPILOG = f"""\
Names for --rows, --columns, --cells and --where: {", ".join(ALIASES)};
or any key of the records by its dotted name: config.solver.rtol, metrics.val/nll,
memory.checkpoints_bytes, evaluations.vjps, environment.device_name, status, ...

Exit status: 0 done, 1 files were skipped (named on standard error), 2 bad usage or no record."""


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    arguments = _parser().parse_args(argv)
    if arguments.columns is None:
        arguments.columns = [name for name in ("data",) if name not in arguments.rows]
    return run_command(NAME, lambda: _report(arguments), argv)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description=PURPOSE,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUNS", help="run or sweep directories, records, or patterns")
    add("--rows", type=_names, default=["grad"], metavar="NAMES", help="default: grad")
    add("--columns", type=_names, metavar="NAMES", help="default: data; '' for none")
    cells = ["nll", "memory", "time"]
    add("--cells", type=_names, default=cells, metavar="NAMES", help="default: nll,memory,time")
    add("--where", action="append", default=[], metavar="NAME=VALUE", help="only such runs")
    add("--out", type=Path, metavar="DIR", help="where files are written; without it, none are")
    add("--title", default="", help="heading and caption of the table")
    best = {"action": argparse.BooleanOptionalAction, "default": True}
    add("--mark-best", **best, help="the best cell of each column in bold (default)")
    add("--plots", **best, help="plots besides the table in DIR (default)")
    add("--version", action="version", version=f"symadj {symadj.__version__}")
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _report(arguments: argparse.Namespace) -> int:
    # Skipped files are named below, in the words of a command.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedFileWarning)
        loaded = load_runs(arguments.runs)
        _name(loaded.skipped)
        runs, again = latest(_chosen(_some(loaded.frame), arguments.where))
        notes = _notes(runs, arguments, again)
        table = pivot(runs, arguments.rows, arguments.columns, arguments.cells)
        looks = {"title": arguments.title, "mark_best": arguments.mark_best, "notes": notes}
        say(to_markdown(table, **looks))
        skipped = list(loaded.skipped)
        if arguments.out is not None:
            written = write_table(table, arguments.out, **looks)
            if arguments.plots:
                histories, rollouts = load_histories(runs), load_rollouts(runs)
                for more in (histories.skipped, rollouts.skipped):
                    _name(more)
                    skipped += more
                names = (arguments.rows, arguments.columns)
                figures = report_figures(runs, histories.frame, *names, rollouts.frame)
                written += write_figures(figures, arguments.out)
            say("written: " + ", ".join(map(str, written)))
    return SKIPPED if skipped else OK


def _name(skipped: Sequence[Skipped]) -> None:
    for item in skipped:
        complain(f"{NAME}: {item}")


def _some(runs: pd.DataFrame) -> pd.DataFrame:
    if runs.empty:
        raise InputError("there is no record of a run here; runs leave one as record.json.")
    return runs


def _chosen(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals:
            raise InputError(f"--where {condition}: write NAME=VALUE.")
        texts = [text for (text,) in labels(runs, [name])]
        mask = pd.Series([text == _as_label(value) for text in texts], index=runs.index)
        if not mask.any():
            there = ", ".join(sorted(set(texts)))
            raise InputError(f"--where {condition}: no such run; {name} is one of {there}.")
        runs = where(runs, mask)
    return runs


def _as_label(value: str) -> str:
    """As a record's value is called: 1e-5 is 1e-05 there."""
    try:
        return text_of(float(value))
    except ValueError:
        return value


def _notes(runs: pd.DataFrame, arguments: argparse.Namespace, again: int) -> list[str]:
    notes = [f"Runs: {len(runs)}. Cells: mean ± standard deviation over n runs."]
    if again:
        notes.append(f"Left out, since run again (the last success counts): {again}.")
    if names := differing(runs, arguments.rows, arguments.columns):
        notes.append(
            f"Caution: runs of one cell differ in {', '.join(names)}; "
            "take these into --rows, --columns or --where."
        )
    return notes


if __name__ == "__main__":
    sys.exit(main())
