"""Records of a benchmark -> tables and a chart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from symadj.bench.cases import PRODUCTS, STAND_INS
from symadj.bench.measure import Plan
from symadj.files import write_text
from symadj.records.record import RunRecord
from symadj.report.bars import cost_bars
from symadj.report.cell import Cell
from symadj.report.flatten import flatten
from symadj.report.names import ALIASES
from symadj.report.write import to_latex, to_markdown, write_figures

MIB = 2.0**20
_WORDS = {
    "NotInstalled": "not installed",
    "TimeLimitExceeded": "time limit",
    "ProcessKilled": "killed",
    "ProcessCrashed": "crashed",
}


@dataclass
class Measured:
    """The rows of one group.

    Attributes:
        title: solver, batch and steps.
        plan: how they were measured.
        records: of the rows, in their order.
        notes: what went wrong besides.
    """

    title: str
    plan: Plan
    records: list[RunRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def warn(self, messages: Sequence[str]) -> None:
        """Adds the warnings of a row, each once."""
        self.notes += [text for m in messages if (text := f"warning: {m}") not in self.notes]


def word_of(record: RunRecord) -> str:
    """A failure in a word or two; empty where there is none."""
    if record.error is None:
        return ""
    kind = str(record.error.get("type", ""))
    return _WORDS.get(kind) or record.status.text


def line_of(record: RunRecord) -> str:
    """A row in one line, for those who wait."""
    if record.error is not None:
        return f"{record.grad}: {word_of(record)}"
    peak = (record.memory or {}).get("peak_bytes")
    size = f", {peak / MIB:.3g} MiB" if peak is not None else ""
    return f"{record.grad}: {record.seconds['iteration']['median']:.3g} s{size}"


@dataclass(frozen=True)
class _Column:
    """A column.

    Attributes:
        header: with its unit.
        value: of a record: a number, None, or a sample of seconds in four numbers.
        lower_is_better: None where none is best.
        always_wide: whether a narrow table has the quartiles too.
        on_request: whether a table leaves it out where no record has the value.
    """

    header: str
    value: Callable[[RunRecord], Any]
    lower_is_better: bool | None = None
    always_wide: bool = False
    on_request: bool = False

    def cell(self, record: RunRecord, wide: bool) -> Cell:
        if record.error is not None:
            return Cell(failures=((word_of(record), 1),))
        value = self.value(record)
        # What computes no gradient is no method, and no best one.
        better = None if record.grad == PRODUCTS.label else self.lower_is_better
        if isinstance(value, dict):
            return self._timed(value, wide or self.always_wide, better)
        return Cell(mean=value, n=1, lower_is_better=better, counts=False)

    def _timed(self, value: dict[str, Any], wide: bool, better: bool | None) -> Cell:
        if value["median"] is None:
            return Cell()
        return Cell(
            mean=value["median"],
            n=value["n"],
            quartiles=(value["q1"], value["q3"]) if wide else None,
            lower_is_better=better,
            counts=False,
        )


def _seconds(part: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.seconds[part]


def _mebibytes(part: str) -> Callable[[RunRecord], Any]:
    def value(record: RunRecord) -> float | None:
        size = (record.memory or {}).get(f"{part}_bytes")
        return None if size is None else size / MIB

    return value


def _metric(name: str) -> Callable[[RunRecord], Any]:
    return lambda record: record.metrics.get(name)


def _count(kind: str) -> Callable[[RunRecord], Any]:
    return lambda record: _float({**record.evaluations, **record.steps}.get(kind))


def _all_evaluations(record: RunRecord) -> float | None:
    counts = record.evaluations
    if not counts:
        return None
    # Backpropagation's evaluations with graph are its forward ones, counted in both places.
    again = record.config["grad"]["_target_"].endswith(".Backprop")
    return float(counts["forward"] + counts["recomputed"] + (0 if again else counts["with_graph"]))


def _float(value: int | None) -> float | None:
    return None if value is None else float(value)


COST = (
    _Column("forward (s)", _seconds("forward"), True),
    _Column("backward (s)", _seconds("backward"), True),
    _Column("total (s)", _seconds("iteration"), True, always_wide=True),
    _Column("peak memory (MiB)", _mebibytes("peak"), True),
    _Column("gradient error", _metric("gradient_error"), True),
    _Column("gradient error (float64)", _metric("gradient_error_float64")),
    _Column(
        "gradient error (converged)", _metric("gradient_error_converged"), True, on_request=True
    ),
)
DETAILS = (
    _Column("steps", _count("accepted")),
    _Column("rejected", _count("rejected")),
    _Column("evaluations", _all_evaluations, True),
    _Column("forward", _count("forward")),
    _Column("recomputed", _count("recomputed")),
    _Column("with graph", _count("with_graph")),
    _Column("outputs (MiB)", _mebibytes("outputs")),
    _Column("checkpoints (MiB)", _mebibytes("checkpoints")),
    _Column("graph and work (MiB)", _mebibytes("graph")),
)


def table(measured: Measured, columns: Sequence[_Column], wide: bool = True) -> pd.DataFrame:
    """A table of `Cell`, a row for each method.

    Args:
        measured: the rows.
        columns: `COST` or `DETAILS`.
        wide: whether all seconds have their quartiles.
    """
    index = pd.Index([record.grad for record in measured.records], name="method")
    records = measured.records
    kept = [c for c in columns if not c.on_request or any(c.value(r) is not None for r in records)]
    cells = {c.header: [c.cell(record, wide) for record in records] for c in kept}
    return pd.DataFrame(cells, index=index, dtype=object)


def notes_of(groups: Sequence[Measured]) -> list[str]:
    """What a reader of the tables must know."""
    records = [record for group in groups for record in group.records]
    plan = groups[0].plan
    how = "Each row is a process of its own" if plan.isolate else "The rows took turns"
    meters = {str(record.memory["meter"]) for record in records if record.memory} - {"xla"}
    notes = [
        f"Seconds: median [quartiles] of {plan.repeats} evaluations of the loss and its gradient "
        f"after {plan.warmup} to warm up, none of them metered. {how}.",
        f"Peak memory: above what is live before the step, by the meter "
        f"{' and '.join(sorted(meters)) or 'none'}, in an evaluation that is not timed.",
    ]
    if any("gradient_error" in record.metrics for record in records):
        notes.append(
            "Gradient error: |g - g_ref| / |g_ref| over all parameters. g_ref is backpropagation "
            "in float64 with the same weights, batch and noise on the steps that the row accepted; "
            '"(float64)" is the method itself in float64 on those steps.'
        )
    if any("gradient_error_converged" in record.metrics for record in records):
        notes.append(
            '"(converged)": against the gradient of a solution by dop853 in float64 at rtol = atol '
            f"= {plan.converged:g}, so that the discretisation's error is in it."
        )
    if any(record.grad.endswith("adjoint") for record in records):
        notes.append("Steps of an adjoint method are those of both directions.")
    peers = {record.grad.partition(" ")[0].rstrip(",") for record in records}
    if {"torchdiffeq", "diffrax"} & peers:
        notes.append(
            "Other software accepts steps of its own: its gradient error has the difference of two "
            "discretisations in it. In float64 it was held to symadj's steps."
        )
    if "diffrax" in peers:
        notes.append(
            "diffrax: compiled, the compilation is not timed; memory is temporaries and results by "
            "XLA's own account."
        )
    solvers = {record.solver for record in records}
    if any({ours, theirs} <= solvers for ours, theirs in STAND_INS.items()):
        notes.append(
            "dop853: torchdiffeq and diffrax do not have it. In its place stands dopri8, of order "
            "8 too (Prince and Dormand, 13 stages): their gradients are those of another "
            "discretisation, in float64 on the same steps as well."
        )
    if PRODUCTS.label in {record.grad for record in records}:
        notes.append(
            f"{PRODUCTS.label}: as many products, of the same shapes, as one iteration of "
            "symplectic needs for the values, tangents, cotangents and weights of its networks, in "
            "memory that is there already; nothing else."
        )
    for group in groups:
        notes += group.notes
        for record in group.records:
            if record.error is not None:
                notes.append(f"{record.grad}, {group.title}: {record.error['message']}")
    return list(dict.fromkeys(notes))


def markdown(groups: Sequence[Measured], wide: bool = True) -> str:
    """All tables and their notes; not wide, they read well in a terminal too."""
    tables = [text for group in groups for text in _texts(group, to_markdown, wide)]
    return "\n".join([*tables, *(f"{note}\n" for note in notes_of(groups))]).rstrip()


def write_tables(groups: Sequence[Measured], folder: Path) -> list[Path]:
    """Writes table.csv, table.md, table.tex, bars.png and bars.pdf.

    Returns:
        The files written.
    """
    notes = notes_of(groups)
    tex = [text for group in groups for text in _texts(group, to_latex)]
    texts = {
        "table.csv": raw(groups).to_csv(index=False, lineterminator="\n"),
        "table.md": markdown(groups) + "\n",
        "table.tex": "\n".join([*(f"% {note}" for note in notes), *tex]),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    return [*(folder / name for name in texts), *write_figures(chart(groups), folder)]


def raw(groups: Sequence[Measured]) -> pd.DataFrame:
    """All numbers unrounded, a line for each row; bytes as bytes."""
    kept = ("memory.", "seconds.", "evaluations.", "steps.", "metrics.")
    lines = []
    for group in groups:
        for record in group.records:
            config = record.config
            line = {
                "method": record.grad,
                "solver": record.solver,
                "batch": config["train"]["batch_size"],
                "num_steps": config["solver"].get("num_steps"),
                "status": word_of(record) or "ok",
            }
            flat = flatten(record)
            lines.append(line | {k: v for k, v in flat.items() if k.startswith(kept)})
    return pd.DataFrame(lines)


def chart(groups: Sequence[Measured]) -> dict[str, Figure]:
    """Bars of peak memory and seconds, a row of panels for each group, by the file's stem."""
    lines = [
        {**flatten(record), "group": group.title, "status": word_of(record) or "ok"}
        for group in groups
        for record in group.records
    ]
    runs = pd.DataFrame(lines)
    good = runs.loc[runs["status"] == "ok", :]
    cells = [name for name in ("memory", "time") if ALIASES[name].values(good).notna().any()]
    return {"bars": cost_bars(runs, ("grad",), ("group",), cells)} if cells else {}


def _texts(group: Measured, write: Callable[..., str], wide: bool = True) -> list[str]:
    cost, details = table(group, COST, wide), table(group, DETAILS, wide)
    return [
        write(cost, title=group.title, mark_best=True),
        write(details, title=f"{group.title}: where it goes", mark_best=True),
    ]
