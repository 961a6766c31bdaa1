"""Records of a benchmark -> its tables, notes and chart, by the means of `symadj.report`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from symadj.bench.cases import STAND_INS
from symadj.config.bench import BenchSettings
from symadj.files import write_text
from symadj.records.record import RunRecord
from symadj.report.bars import cost_bars
from symadj.report.flatten import failure_of, flatten
from symadj.report.frames import column, numbers, part, where
from symadj.report.names import ALIASES, MIB, Quantity, of_key
from symadj.report.tables import pivot
from symadj.report.write import to_latex, to_markdown, write_figures


@dataclass
class Measured:
    """The records of one group.

    Attributes:
        title: solver, batch and steps.
        how: they were measured.
        records: of the cases, in their order.
        notes: what went wrong besides.
    """

    title: str
    how: BenchSettings
    records: list[RunRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def warn(self, messages: Sequence[str]) -> None:
        """Adds the warnings of a case, each once."""
        self.notes += [text for m in messages if (text := f"warning: {m}") not in self.notes]


def line_of(record: RunRecord) -> str:
    """A record in one line, for those who wait."""
    if failure := failure_of(record):
        return f"{record.grad}: {failure}"
    peak = (record.memory or {}).get("peak_bytes")
    size = f", {peak / MIB:.3g} MiB" if peak is not None else ""
    return f"{record.grad}: {record.seconds['iteration']['median']:.3g} s{size}"


def _detail(name: str, key: str) -> Quantity:
    return replace(of_key(name, key), lower_is_better=None)


TOTAL = replace(ALIASES["time"], name="total", unit="s")
CONVERGED = of_key("gradient error (converged)", "metrics.gradient_error_converged")
COST = (
    replace(ALIASES["forward"], unit="s"),
    replace(ALIASES["backward"], unit="s"),
    TOTAL,
    replace(ALIASES["memory"], name="peak memory"),
    of_key("gradient error", "metrics.gradient_error"),
    _detail("gradient error (float64)", "metrics.gradient_error_float64"),
    CONVERGED,
)
DETAILS = (
    _detail("steps", "steps.accepted"),
    _detail("rejected", "steps.rejected"),
    replace(ALIASES["evaluations"], unit=""),
    _detail("forward", "evaluations.forward"),
    _detail("recomputed", "evaluations.recomputed"),
    _detail("with graph", "evaluations.with_graph"),
    _detail("outputs", "memory.outputs_bytes"),
    _detail("checkpoints", "memory.checkpoints_bytes"),
    _detail("graph and work", "memory.graph_bytes"),
)


def frame(groups: Sequence[Measured]) -> pd.DataFrame:
    """All records, as `symadj.report.load.load_runs` gives them, with their group's title."""
    return pd.DataFrame(
        [{**flatten(r), "group": group.title} for group in groups for r in group.records]
    )


def table(group: Measured, quantities: Sequence[Quantity], wide: bool = True) -> pd.DataFrame:
    """A table of `Cell`, a row for each case.

    Args:
        group: the records.
        quantities: `COST` or `DETAILS`.
        wide: whether all seconds have their quartiles, and not the total alone.
    """
    runs = frame([group])
    shown = [
        quantity if wide or quantity is TOTAL else replace(quantity, quartiles=None)
        for quantity in quantities
        if quantity is not CONVERGED or quantity.values(runs).notna().any()
    ]
    cells = pivot(runs, ["grad"], [], shown, quartiles=True, counts=False)
    return cells.loc[list(runs["grad"])].rename_axis(index="method")


def notes_of(groups: Sequence[Measured]) -> list[str]:
    """What a reader of the tables must know."""
    records = [record for group in groups for record in group.records]
    notes = [text for holds, text in _remarks(groups[0].how, records) if holds]
    for group in groups:
        failed = [record for record in group.records if record.error is not None]
        notes += group.notes
        notes += [f"{r.grad}, {group.title}: {(r.error or {})['message']}" for r in failed]
    return list(dict.fromkeys(notes))


def _remarks(how: BenchSettings, records: Sequence[RunRecord]) -> list[tuple[bool, str]]:
    """What there may be to say, and whether it is to be said of these records."""
    turns = "Each row is a process of its own" if how.isolate else "The rows took turns"
    meters = {str(record.memory["meter"]) for record in records if record.memory} - {"xla"}
    metrics = {name for record in records for name in record.metrics}
    labels, solvers = ({getattr(r, name) for r in records} for name in ("grad", "solver"))
    software = {label.partition(" ")[0].rstrip(",") for label in labels}
    return [
        (
            True,
            f"Seconds: median [quartiles] of {how.repeats} evaluations of the loss and its "
            f"gradient after {how.warmup} to warm up, none of them metered. {turns}.",
        ),
        (
            True,
            f"Peak memory: above what is live before the step, by the meter "
            f"{' and '.join(sorted(meters)) or 'none'}, in an evaluation that is not timed.",
        ),
        (
            "gradient_error" in metrics,
            "Gradient error: |g - g_ref| / |g_ref| over all parameters. g_ref is backpropagation "
            "in float64 with the same weights, batch and noise on the steps that the row accepted; "
            '"(float64)" is the method itself in float64 on those steps.',
        ),
        (
            "gradient_error_converged" in metrics,
            '"(converged)": against the gradient of a solution by dop853 in float64 at rtol = atol '
            f"= {how.converged or 0:g}, so that the discretisation's error is in it.",
        ),
        (
            any(label.endswith("adjoint") for label in labels),
            "Steps of an adjoint method are those of both directions.",
        ),
        (
            bool({"torchdiffeq", "diffrax"} & software),
            "Other software accepts steps of its own: its gradient error has the difference of two "
            "discretisations in it. In float64 it was held to symadj's steps.",
        ),
        (
            "diffrax" in software,
            "diffrax: compiled, the compilation is not timed; memory is temporaries and results by "
            "XLA's own account.",
        ),
        (
            any({ours, theirs} <= solvers for ours, theirs in STAND_INS.items()),
            "dop853: torchdiffeq and diffrax do not have it. In its place stands dopri8, of order "
            "8 too (Prince and Dormand, 13 stages): their gradients are those of another "
            "discretisation, in float64 on the same steps as well.",
        ),
    ]


def markdown(groups: Sequence[Measured], wide: bool = True) -> str:
    """All tables and their notes; not wide, they read well in a terminal too."""
    tables = [text for group in groups for text in _texts(group, to_markdown, wide)]
    return "\n".join([*tables, *(f"{note}\n" for note in notes_of(groups))]).rstrip()


def write_tables(groups: Sequence[Measured], folder: Path) -> list[Path]:
    """Writes table.csv, table.md, table.tex, bars.png and bars.pdf.

    Returns:
        The files written.
    """
    runs = frame(groups)
    tex = [text for group in groups for text in _texts(group, to_latex)]
    texts = {
        "table.csv": raw(runs).to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(groups) + "\n",
        "table.tex": "\n".join([*(f"% {note}" for note in notes_of(groups)), *tex]),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *write_figures(chart(runs), folder)]


def raw(runs: pd.DataFrame) -> pd.DataFrame:
    """All numbers of a `frame` unrounded, a line for each record; bytes as bytes."""
    measured = ("memory.", "seconds.", "evaluations.", "steps.", "metrics.")
    head = {
        "method": runs["grad"],
        "solver": runs["solver"],
        "batch": column(runs, "config.train.batch_size"),
        "num_steps": column(runs, "config.solver.num_steps"),
        "status": runs["failure"].replace("", "ok"),
    }
    kept = [str(name) for name in runs if str(name).startswith(measured)]
    return pd.concat([pd.DataFrame(head), part(runs, kept)], axis=1)


def chart(runs: pd.DataFrame) -> dict[str, Figure]:
    """Bars of peak memory and seconds, a row of panels for each group, by the file's stem."""
    good = where(runs, runs["status"] == "ok")
    cells = [
        name for name in ("memory", "time") if numbers(ALIASES[name].values(good)).notna().any()
    ]
    return {"bars": cost_bars(runs, ("grad",), ("group",), cells)} if cells else {}


def _texts(group: Measured, write: Callable[..., str], wide: bool = True) -> list[str]:
    cost, details = table(group, COST, wide), table(group, DETAILS, wide)
    return [
        write(cost, title=group.title, mark_best=True),
        write(details, title=f"{group.title}: where it goes", mark_best=True),
    ]
