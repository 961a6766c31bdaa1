"""The names that a table's rows, columns and cells may be given, and what they stand for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from symadj.errors import InputError
from symadj.figures.style import METHOD_STYLE, base_of
from symadj.report.frames import column, numbers

MISSING = "–"
MIB = 2.0**20
Values = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Quantity:
    """A value that every record has or lacks.

    Attributes:
        name: as asked for.
        unit: empty where there is none.
        values: runs -> the values, missing ones as NaN.
        lower_is_better: whether the smallest of a column is its best; None: there is no best.
        quartiles: columns of the first and third quartile, in the same unit, where records have
            them.
        numeric: whether runs are averaged; else a cell lists their values.
    """

    name: str
    unit: str
    values: Values
    lower_is_better: bool | None = True
    quartiles: tuple[str, str] | None = None
    numeric: bool = True

    @property
    def header(self) -> str:
        """Name and unit, as a table's header says them."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


def resolve(name: str | Quantity, runs: pd.DataFrame) -> Quantity:
    """Finds what a name stands for.

    Args:
        name: a short name (`ALIASES`); a record's key by dotted name (`config.solver.rtol`); such a
            key without its leading `config.` or `metrics.`; or a quantity, which stands for itself.
        runs: as `symadj.report.load.load_runs` gives it.

    Raises:
        InputError: no such name; the message has the nearest ones.
    """
    if isinstance(name, Quantity):
        return name
    if name in ALIASES:
        return ALIASES[name]
    for key in (name, f"config.{name}", f"metrics.{name}"):
        if key in runs:
            return of_key(name, key)
    near = difflib.get_close_matches(name, [*ALIASES, *map(str, runs.columns)], n=3, cutoff=0.6)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    raise InputError(
        f"unknown name {name!r}.{hint} Short names: {', '.join(ALIASES)}; allowed besides: any "
        "key of the records by its dotted name, such as config.solver.rtol."
    )


def labels(runs: pd.DataFrame, names: Sequence[str]) -> list[tuple[str, ...]]:
    """For each run, the texts of the named values: what its row or column is called."""
    columns = [[text_of(v) for v in resolve(name, runs).values(runs)] for name in names]
    return list(zip(*columns, strict=True)) if columns else [()] * len(runs)


def ordered(distinct: set[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Labels as a reader expects them: methods as in the paper, numbers by size, missing last.

    A variant of a method, such as symplectic_stages, comes behind it.
    """
    return sorted(distinct, key=lambda label: tuple(_rank(text) for text in label))


def joined(runs: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """For each run one label made of the named values ("aca, dopri5")."""
    return pd.Series([_join(label) for label in labels(runs, names)], index=runs.index)


def sequence(runs: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The distinct labels of `joined` in the order of tables and legends."""
    return [_join(label) for label in ordered(set(labels(runs, names)))]


def _join(label: tuple[str, ...]) -> str:
    return ", ".join(label) or "all runs"


def evaluations(counts: pd.DataFrame, graph_in_forward: pd.Series, prefix: str = "") -> pd.Series:
    """Evaluations of the field of all kinds together, each counted once."""
    forward, recomputed, with_graph = (
        numbers(column(counts, f"{prefix}{kind}"))
        for kind in ("forward", "recomputed", "with_graph")
    )
    return forward + recomputed + with_graph.mask(graph_in_forward, 0.0)


def graph_in_forward(runs: pd.DataFrame) -> pd.Series:
    """Whether a run's gradient method builds its graph in the forward pass.

    These evaluations are already among the forward ones.
    """
    targets = column(runs, "config.grad._target_").astype(str)
    return targets.str.endswith(".Backprop")


def _raw(key: str) -> Values:
    return lambda runs: column(runs, key)


def _scaled(key: str, scale: float) -> Values:
    return lambda runs: numbers(column(runs, key)) / scale


def _per_iteration(total: Values) -> Values:
    return lambda runs: total(runs) / numbers(column(runs, "iterations")).replace(0, np.nan)


def _all_evaluations(runs: pd.DataFrame) -> pd.Series:
    return evaluations(runs, graph_in_forward(runs), "evaluations.")


def _plain(name: str, key: str) -> Quantity:
    return Quantity(name, "", _raw(key), None, numeric=False)


def _metric(name: str, key: str, unit: str = "") -> Quantity:
    return Quantity(name, unit, _scaled(f"metrics.{key}", 1.0))


def _seconds(name: str, part: str) -> Quantity:
    quartiles = (f"{part}.q1", f"{part}.q3")
    return Quantity(name, "s/iteration", _scaled(f"{part}.median", 1.0), True, quartiles)


def _mebibytes(name: str, key: str) -> Quantity:
    return Quantity(name, "MiB", _scaled(key, MIB))


def of_key(name: str, key: str) -> Quantity:
    """The quantity that records have under a dotted key, called by this name."""
    if key.endswith("_bytes"):
        return _mebibytes(name, key)
    if key.startswith("seconds."):
        part, _, kind = key.rpartition(".")
        if kind == "median":
            return _seconds(name, part)
        return Quantity(name, {"total": "s", "n": ""}.get(kind, "s/iteration"), _raw(key))
    if key.startswith("metrics."):
        return Quantity(name, _metric_unit(key), _raw(key))
    if key == "iterations" or key.startswith(("evaluations.", "steps.")):
        return Quantity(name, "", _raw(key), None)
    return _plain(name, key)


def _metric_unit(key: str) -> str:
    if key.endswith("bits_per_dim"):
        return "bits/dim"
    return "nats" if "nll" in key else ""


def text_of(value: object) -> str:
    """A value of a record as a label; 1.0 and 1 are the same, a missing one is a dash."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return MISSING
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value) or MISSING


def _rank(text: str) -> tuple[int, float, str]:
    if text == MISSING:
        return 3, 0.0, text
    if base := base_of(text):
        return 0, float(list(METHOD_STYLE).index(base)), text
    try:
        return 1, float(text), text
    except ValueError:
        return 2, 0.0, text


_QUANTITIES = (
    _plain("grad", "grad"),
    _plain("data", "data.name"),
    _plain("solver", "solver"),
    _plain("model", "model.name"),
    _plain("seed", "seed"),
    _metric("nll", "test/nll", "nats"),
    _metric("bits_per_dim", "test/bits_per_dim", "bits/dim"),
    _metric("loss", "train/loss"),
    _metric("gradient_error", "gradient_error", "relative"),
    _mebibytes("memory", "memory.peak_bytes"),
    _seconds("time", "seconds.iteration"),
    _seconds("forward", "seconds.forward"),
    _seconds("backward", "seconds.backward"),
    Quantity("evaluations", "per iteration", _per_iteration(_all_evaluations)),
    Quantity("steps", "per iteration", _per_iteration(_scaled("steps.accepted", 1.0))),
)
ALIASES: dict[str, Quantity] = {quantity.name: quantity for quantity in _QUANTITIES}
