"""The ratios of rows that the project has set itself, with what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from symadj.bench.cases import AUTOGRAD_TRACE as AUTOGRAD
from symadj.report.frames import numbers, where
from symadj.report.names import MISSING, resolve


@dataclass(frozen=True)
class Target:
    """A ratio of two rows that the project has set itself.

    Attributes:
        text: what it is.
        name: of the quantity, as `symadj.report.names.resolve` takes it.
        rows: above the line; of several the fastest one.
        over: below it, likewise.
        bounds: the most that it may be, by problem.
    """

    text: str
    name: str
    rows: tuple[str, ...]
    over: tuple[str, ...]
    bounds: Mapping[str, float]

    def cell(self, runs: pd.DataFrame, problem: str) -> str:
        """The ratio on a problem with what it may be; a dash where a row is missing."""
        own = where(runs, (runs["data.name"] == problem) & (runs["status"] == "ok"))
        ratio = self._of_fastest(own, self.rows) / self._of_fastest(own, self.over)
        if np.isnan(ratio):
            return MISSING
        bound = self.bounds.get(problem)
        if bound is None:
            return f"{ratio:.3g}"
        return f"{ratio:.3g} ({bound:g}{'' if ratio <= bound else ': missed'})"

    def _of_fastest(self, runs: pd.DataFrame, labels: Sequence[str]) -> float:
        """The quantity of the fastest of these rows; NaN where there is none."""
        chosen = where(runs, runs["grad"].isin(labels))
        if chosen.empty:
            return float("nan")
        fastest = int(numbers(resolve("time", runs).values(chosen)).argmin())
        return float(numbers(resolve(self.name, runs).values(chosen)).iloc[fastest])


def ratios(runs: pd.DataFrame, problems: Sequence[str], targets: Sequence[Target]) -> pd.DataFrame:
    """The targets with what was measured."""
    rows = {t.text: {name: t.cell(runs, name) for name in problems} for t in targets}
    table = pd.DataFrame(rows).T
    table.index.name = "ratio"
    return table


EAGER = ("symplectic", "symplectic_stages")
COMPILED = ("symplectic_compiled", "symplectic_stages_compiled")
TARGETS = (
    Target(
        "time: symplectic to torchdiffeq adjoint, autograd",
        "time",
        ("symplectic",),
        (f"torchdiffeq adjoint{AUTOGRAD}",),
        {"toy": 0.35, "GAS": 0.45, "MINIBOONE": 0.5},
    ),
    Target(
        "time: symplectic_stages to torchdiffeq adjoint, autograd",
        "time",
        ("symplectic_stages",),
        (f"torchdiffeq adjoint{AUTOGRAD}",),
        {"toy": 0.35, "GAS": 0.45, "MINIBOONE": 0.5},
    ),
    Target(
        "time: symplectic_compiled to the faster row of diffrax",
        "time",
        ("symplectic_compiled",),
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {"toy": 1.0, "GAS": 1.0, "MINIBOONE": 0.95},
    ),
    Target(
        "time: symplectic_stages_compiled to the faster row of diffrax",
        "time",
        ("symplectic_stages_compiled",),
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {"toy": 1.0, "GAS": 1.0, "MINIBOONE": 0.95},
    ),
    Target(
        "time: the faster compiled row to the faster row of diffrax",
        "time",
        COMPILED,
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {"toy": 1.0},
    ),
    Target(
        "time: symplectic_stages to the faster row of diffrax",
        "time",
        ("symplectic_stages",),
        ("diffrax", f"diffrax{AUTOGRAD}"),
        {},
    ),
    Target(
        "memory: symplectic to torchdiffeq, autograd",
        "memory",
        ("symplectic",),
        (f"torchdiffeq{AUTOGRAD}",),
        {"toy": 0.08, "GAS": 0.06, "MINIBOONE": 0.08},
    ),
    Target(
        "time: symplectic_stages to symplectic",
        "time",
        ("symplectic_stages",),
        ("symplectic",),
        {"MINIBOONE": 0.85},
    ),
)
USER_TARGETS = (
    Target(
        "time: the faster of symplectic and symplectic_stages to torchdiffeq",
        "time",
        EAGER,
        ("torchdiffeq",),
        {"cnf_gas": 1.2, "cnf_toy": 1.3, "conv": 1.3, "hnn": 1.4, "attention": 1.3},
    ),
    Target(
        "memory: the same rows",
        "memory",
        EAGER,
        ("torchdiffeq",),
        {"cnf_gas": 0.06, "cnf_toy": 0.06, "conv": 0.1, "hnn": 0.1, "attention": 0.1},
    ),
    Target(
        "time: the faster of symplectic and symplectic_stages to torchdiffeq adjoint",
        "time",
        EAGER,
        ("torchdiffeq adjoint",),
        dict.fromkeys(("cnf_gas", "cnf_toy", "conv", "hnn", "attention", "latent"), 1.0),
    ),
    Target(
        "time: the faster compiled row to diffrax",
        "time",
        COMPILED,
        ("diffrax",),
        {"cnf_gas": 1.1, "cnf_toy": 1.2, "conv": 0.9, "hnn": 1.1, "attention": 1.0},
    ),
    Target(
        "time: the faster of symplectic and symplectic_stages to diffrax",
        "time",
        EAGER,
        ("diffrax",),
        {},
    ),
    Target("memory: the faster of these to diffrax", "memory", EAGER, ("diffrax",), {}),
)
