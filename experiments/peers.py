"""symadj beside torchdiffeq and diffrax: time, memory and exactness.

Four problems are symadj's own models; seven are plain torch modules as users write them
(`experiments/users`), whose fields go through autograd in all rows.

    python experiments/peers.py --preset cpu       measure what is missing, write results/peers
    python experiments/peers.py --dry-run          the commands and how long they take
    python experiments/peers.py --redraw           tables and figure from the saved records

All rows of a problem share one process, weights, batch, noise, tolerances and threads, and their
repetitions take turns, so that whatever else the machine does meets all of them alike. Needs
`pip install 'symadj[peers]'`.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

import users
from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from peers_figure import figure_of, shown
from peers_targets import TARGETS, USER_TARGETS, Target, ratios
from symadj.bench.cases import VARIANTS
from symadj.bench.profile import PARTS
from symadj.report.frames import numbers, where
from symadj.report.names import ordered
from symadj.report.tables import pivot

GRADS = ("symplectic", "symplectic_stages", "backprop", "aca", "adjoint")
# Rows with settings of their own: a label, and what differs.
ROWS: Mapping[str, Sequence[str]] = {
    f"{grad}_compiled": (f"grad={grad}", "compile=true")
    for grad in ("symplectic", "symplectic_stages")
}
USER_ROWS: Mapping[str, Sequence[str]] = {
    "symplectic_6_at_once": ("grad=symplectic", "grad.stages_at_once=6"),
    "auto_64MiB": ("grad=auto", "grad.memory=64MiB"),
}
"""Further rows where a field is a user's: it goes through graphs, of which there is a choice."""
IMPLICIT_GRADS = ("symplectic", "symplectic_stages", "backprop", "checkpoint", "aca")
"""Those of an implicit solver: the exact ones."""
PEERS = ("torchdiffeq", "diffrax")
THREADS = 2


class Rows(NamedTuple):
    """Which rows a problem has.

    Attributes:
        grads: methods of symadj.
        more: its rows with settings of their own.
        packages: other software.
    """

    grads: Sequence[str]
    more: Mapping[str, Sequence[str]]
    packages: Sequence[str]


OWN = Rows(GRADS, ROWS, PEERS)
USER = Rows(GRADS, {**ROWS, **USER_ROWS}, PEERS)
IMPLICIT = Rows(IMPLICIT_GRADS, {}, ("diffrax",))
TITLES = {
    "toy": "toy: d = 2, 64-64-64 tanh, batch 100, dopri5, float32",
    "GAS": "GAS: d = 8, 160-160-160 tanh, batch 1,000, dopri5, float32",
    "MINIBOONE": "MINIBOONE: d = 43, 860-860 softplus, batch 1,000, dopri5, float32",
    "KdV": "KdV: energy of 200-200 channels on 50 points, batch 200, dop853, float64",
}
STIFF = "stiff"
USERS = {
    "cnf_gas": "cnf_gas: d = 8, 160-160-160 tanh, batch 1,000, the trace by autograd in the field",
    "cnf_toy": "cnf_toy: d = 2, 64-64-64 tanh, batch 100, the trace by autograd in the field",
    "conv": "conv: two 3x3 convolutions, 32 channels, 16x16, tanh, GroupNorm, batch 64",
    "hnn": "hnn: d = 4, 200-200 tanh, batch 200, the energy's gradient by autograd in the field",
    "attention": "attention: 64 tokens of width 64, 4 heads, LayerNorm, GELU, batch 16",
    "latent": "latent: d = 20, 100-100 tanh, batch 50, 100 output times",
    STIFF: "stiff: 16 systems of 8 variables, rates 1 to 10⁴, 64 tanh, kvaerno5, float64",
}
"""Problems as users write them, each an experiment in `CONFIGS`: dopri5, float32, but for stiff."""
CONFIGS = Path(users.__file__).parent / "configs"
CELLS = (
    "time",
    "memory",
    "gradient_error",
    "gradient_error_float64",
    "steps.accepted",
    "steps.rejected",
    "evaluations",
)
HEADERS = {
    "gradient_error (relative)": "gradient error",
    "gradient_error_float64": "in float64",
    "steps.accepted": "steps",
    "steps.rejected": "rejected",
    "evaluations (per iteration)": "evaluations",
}
NOTES = (
    "Time: median [quartiles] of the loss and its gradient; the repetitions of all rows take turns "
    "in one process, whose allocator keeps freed memory, and none is metered. Compilation is not "
    "timed.",
    "Memory: peak above what is live before, in an iteration that is not timed; of compiled rows "
    "by torch's profiler, of diffrax temporaries and results by XLA's own account.",
    "Gradient error: relative to backpropagation in float64 on the steps that the row accepted; in "
    "float64: the row's method itself on those steps. diffrax and torchdiffeq accept steps of "
    "their own, so that the first has the difference of two discretisations in it.",
    "diffrax differentiates by its RecursiveCheckpointAdjoint; of a ReversibleAdjoint there is no "
    "row, because its newest release, 0.7.2, has none.",
    "Steps and evaluations of an adjoint method are those of both directions. diffrax does not "
    "count its evaluations.",
)
NOTES_OURS = (
    "autograd: the derivative inside the field (a flow's trace, the gradient of KdV's energy) by "
    "reverse-mode differentiation, as a user would write it; other rows take it as symadj's models "
    "do (a tangent carried forward, the energy's gradient written out).",
    "compiled: compile=true, which on a CPU compiles the toy's flow alone; the larger fields are "
    "left to their own formulas, in blocks of rows that fit the cache, which are faster there.",
)
NOTE_PROFILE = (
    "Parts in percent of the seconds of evaluations that are not the timed ones: the field's "
    "function without and with graph; vector-Jacobian products, by autograd through these graphs "
    "(backpropagation's whole backward pass) or by a field's own formulas; compiled functions, "
    "which do all of this at once; error estimates and step sizes; looks whether the field is "
    "still the same and what it reaches; and the engine, stage arithmetic and loss included."
)
NOTE_USERS = (
    "A module of plain torch, which symadj, torchdiffeq and diffrax (the same function in JAX, a "
    "derivative inside it by reverse mode too) take as it is. Its weights are fresh ones of a "
    "fixed seed times {gain:g}, so that the dynamics is not trivial; rtol {rtol:g}, atol {atol:g}. "
    "compiled: compile=true. 6_at_once: the graphs of a step's stages held at once, none evaluated "
    "twice. auto: grad=auto, which takes the fastest exact method that it predicts to fit."
)
NOTE_STIFF = (
    "A module of plain torch, which symadj and diffrax (the same function in JAX) take as it is: "
    "decay at rates from 1 to 10⁴ beside a network, in systems that do not act on each other. Its "
    "weights are fresh ones of a fixed seed, the network's times {gain:g}; rtol {rtol:g}, atol "
    "{atol:g}. Either software solves the equations of a step to 0.01 of these tolerances, and in "
    "float64 nearly to rounding: the gradient errors differ by what the tolerance leaves. symadj "
    "sees that the systems are independent and factorises a Jacobian of each, diffrax's Kvaerno5 "
    "one of the whole batch. Its newest release takes every iteration but a converged one for a "
    "divergence, so it also rejects steps whose equations two iterations do not solve (mended "
    "after 0.7.2: patrick-kidger/diffrax, pull request 754). There are no rows of compile=true, "
    "grad=auto and the adjoint method, which symadj refuses for an implicit solver, nor of "
    "torchdiffeq, whose newest release, 0.2.5, has no implicit method with adaptive steps."
)
NOTE_OUTPUTS = (
    "diffrax interpolates between its steps by a formula of its own, so that its gradient of "
    "output times differs in float64 too, on the same steps."
)
NOTE_DOPRI8 = (
    "dop853 is symadj's; torchdiffeq and diffrax step with dopri8 in its place, another tableau of "
    "order 8 (Prince and Dormand, 13 stages)."
)


def command(
    name: str,
    overrides: Sequence[str],
    repeats: int,
    seconds: float,
    rows: Rows,
) -> Command:
    """All rows of a problem.

    Args:
        name: of the problem.
        overrides: that make it.
        repeats: timed evaluations of every row.
        seconds: in all, about.
        rows: that it has.
    """
    own = ",".join(f"{label}:{list(changes)!r}" for label, changes in rows.more.items())
    return Command(
        "bench",
        (
            *overrides,
            f"grads=[{','.join(rows.grads)}]",
            *((f"rows={{{own}}}",) if own else ()),
            f"peers=[{','.join(rows.packages)}]",
            "profile=true",
            f"repeats={repeats}",
            f"threads={THREADS}",
        ),
        {"data": name},
        seconds,
        isolate=False,
    )


def user_command(name: str, repeats: int, seconds: float, *overrides: str) -> Command:
    """All rows of a problem of `USERS`; arguments as `command` has them."""
    chosen = (f"experiment={name}", "peer_traces=[tangent]", *overrides)
    rows = IMPLICIT if name == STIFF else USER
    return replace(command(name, chosen, repeats, seconds, rows), config_dir=CONFIGS)


def cpu(_: Namespace) -> Preset:
    """The published sizes; there is nothing to reduce."""
    return Preset(
        [
            command("toy", ("experiment=toy_sized",), 41, 110.0, OWN),
            command("GAS", ("experiment=gas_sized",), 15, 150.0, OWN),
            command("MINIBOONE", ("experiment=miniboone_sized",), 5, 380.0, OWN),
            command("KdV", ("experiment=kdv",), 5, 280.0, OWN),
            user_command("cnf_gas", 5, 180.0),
            user_command("cnf_toy", 15, 60.0),
            user_command("conv", 3, 700.0),
            user_command("hnn", 7, 70.0),
            user_command("attention", 5, 180.0),
            user_command("latent", 15, 60.0),
            user_command(STIFF, 5, 300.0),
        ],
        [
            "symadj's models: fresh weights; synthetic mixtures of the sizes of FFJORD's toy sets, "
            "GAS and MINIBOONE with its networks, Hutchinson's trace, atol 1e-8, rtol 1e-6; KdV's "
            "energy network at its published size, one interval, atol 1e-9, rtol 1e-7."
        ],
    )


LOOSE = ("train.batch_size=2", "solver.rtol=1e-3", "solver.atol=1e-3", "model.gain=1")
TINY: Mapping[str, Sequence[str]] = {
    "cnf_gas": (*LOOSE, "data.size=20", "model.hidden=[4]"),
    "cnf_toy": (*LOOSE, "data.size=20", "model.hidden=[4]"),
    "conv": (*LOOSE, "data.shape=[4,3,3]", "model.channels=4", "model.groups=2"),
    "hnn": (*LOOSE, "model.hidden=[4]"),
    "attention": (*LOOSE, "data.shape=[3,4]", "model.width=4", "model.heads=2"),
    "latent": (*LOOSE, "data.shape=[3]", "model.hidden=[4]", "data.outputs=3"),
    STIFF: (*LOOSE, "data.shape=[3]", "model.hidden=[4]"),
}


def smoke(_: Namespace) -> Preset:
    """Seconds, and as many for every function that XLA compiles: to see that it works."""
    flow = ("experiment=toy_sized", "data.size=20", "model.hidden=[4]", "train.batch_size=4")
    waves = ("experiment=kdv", "data.trajectories=2", "data.steps=4", "model.hidden=[4,4]")
    return Preset(
        [
            command("toy", (*flow, "solver.rtol=1e-3", "solver.atol=1e-3"), 2, 20.0, OWN),
            command("KdV", (*waves, "train.batch_size=2"), 2, 30.0, OWN),
            *(user_command(name, 2, 30.0, *TINY[name]) for name in USERS),
        ],
        ["Tiny networks; no result."],
    )


def report(results: Results) -> Drawn:
    """For either kind of problems: a table of each, the ratios, the profile and the figure."""
    ours = _part(results.runs, TITLES, TARGETS, "")
    theirs = _part(results.runs, USERS, USER_TARGETS, "_users")
    return Drawn([*ours.sheets, *theirs.sheets], {**ours.figures, **theirs.figures})


def _part(
    runs: pd.DataFrame, titles: Mapping[str, str], targets: Sequence[Target], suffix: str
) -> Drawn:
    problems = [name for name in titles if (runs["data.name"] == name).any()]
    if not problems:
        return Drawn()
    sheets = [
        Sheet(name.lower(), table_of(own), titles[name], notes_of(name, own), mark_best=False)
        for name in problems
        for own in [where(runs, runs["data.name"] == name)]
    ]
    title = "Ratios, and in brackets the most that was aimed at"
    table = ratios(runs, problems, targets)
    sheets.append(Sheet(f"ratios{suffix}", table, title, mark_best=False))
    table = profile(runs, problems)
    sheets.append(Sheet(f"profile{suffix}", table, "Where the time goes", [NOTE_PROFILE]))
    across = 4 if titles is TITLES else 3
    caption = (
        "Seconds of a loss with its gradient (median, a bar from the first to the third quartile) "
        "and peak memory, a row for each method of symadj and of other software, a column of "
        "panels for each problem; variants of a method have its colour, lighter."
    )
    figure = figure_of(runs, problems, order(), across)
    return Drawn(sheets, {f"peers{suffix}": (figure, caption)})


def notes_of(name: str, runs: pd.DataFrame) -> list[str]:
    """What a reader of a problem's table must know."""
    if name in TITLES:
        return [*NOTES, *NOTES_OURS, *([NOTE_DOPRI8] if name == "KdV" else ())]
    first = runs.iloc[0]
    settings = {
        key.rpartition(".")[2]: first[f"config.{key}"]
        for key in ("model.gain", "solver.rtol", "solver.atol")
    }
    more = [NOTE_OUTPUTS] if name == "latent" else []
    problem = NOTE_STIFF if name == STIFF else NOTE_USERS
    return [*NOTES, problem.format(**settings), *more]


def order() -> list[str]:
    """The rows: symadj's in the paper's order, then other software's."""
    own = [label for (label,) in ordered({(label,) for label in own_rows()})]
    return [*own, *(peer.label for peer in VARIANTS)]


def own_rows() -> tuple[str, ...]:
    """Those of symadj, over all problems."""
    kinds = (OWN, USER, IMPLICIT)
    return tuple(dict.fromkeys(label for rows in kinds for label in (*rows.grads, *rows.more)))


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """Time, memory, exactness and counts of every row of a problem."""
    table = pivot(runs, ["grad"], [], CELLS, quartiles=True, counts=False)
    table = table.reindex([label for label in order() if label in table.index])
    table.index = table.index.map(shown)
    table.index.name = "method"
    return table.rename(columns=HEADERS)


def profile(runs: pd.DataFrame, problems: Sequence[str]) -> pd.DataFrame:
    """The seconds of symadj's rows by part, in percent of the profiled ones."""
    rows = {}
    for name in problems:
        for label in own_rows():
            own = where(runs, (runs["data.name"] == name) & (runs["grad"] == label))
            parts = [_only(own, f"metrics.profile/{part}") for part in PARTS]
            if own.empty or np.isnan(parts).any():
                continue
            rows[f"{name}: {label}"] = {
                "time (s)": f"{_only(own, 'seconds.iteration.median'):.4g}",
                "profiled (s)": f"{sum(parts):.4g}",
                **{
                    f"{part} (%)": f"{100 * value / sum(parts):.0f}"
                    for part, value in zip(PARTS, parts, strict=True)
                },
            }
    table = pd.DataFrame(rows).T
    table.index.name = "row"
    return table


def _only(runs: pd.DataFrame, name: str) -> float:
    """The one value of a column; NaN where there is none."""
    return float(numbers(runs[name]).iloc[0]) if name in runs and len(runs) else float("nan")


EXPERIMENT = Experiment(
    name="peers",
    purpose="symadj beside torchdiffeq and diffrax.",
    presets={"paper": cpu, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
