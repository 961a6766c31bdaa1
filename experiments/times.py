"""Is the symplectic adjoint method faster than the adjoint method? Time against N'/N.

    python experiments/times.py --preset cpu       measure what is missing, write results/times
    python experiments/times.py --dry-run          the commands and how long they take
    python experiments/times.py --redraw           tables and figure from the saved records

With N steps forward, N' steps backward and s uses of the network in a step, the paper's Table 1 has
the adjoint method cost N + 2N' and the symplectic one 4N (3N with the stages kept), in units of s
uses. So symplectic is to be faster where N' > 1.5 N, and with the stages kept where N' > N. Both
are measured here at six tolerances, on fresh and on trained weights, the repetitions of all rows in
turn in one process. Needs `pip install 'symadj[peers]'` for torchdiffeq's rows.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.rows import ADJOINT_FULL, rows_setting
from symadj import SOLVERS
from symadj.data.mixture import Mixture
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING
from symadj.report.tables import pivot

GRADS = ("adjoint", "backprop", "symplectic", "symplectic_stages")
FORWARD = {
    "adjoint": "symplectic",
    "adjoint_full": "symplectic",
    "torchdiffeq adjoint": "torchdiffeq",
}
"""The rows of the adjoint method, and a row of the same forward solve that takes no other steps."""
COSTS = {"symplectic": 4, "symplectic_stages": 3}
"""What a step costs, in units of s uses of the network."""
ATOLS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
KEYS = ("data.name", "weights", "atol")
KINDS = ("forward", "recomputed", "with_graph", "vjps")


@dataclass(frozen=True)
class Problem:
    """What is differentiated.

    Attributes:
        settings: of the model, the data and the batch.
        training: of the training whose weights are measured.
        seconds: of that training, and of all rows of a benchmark on fresh and on trained weights:
            the mean over the tolerances.
    """

    settings: Sequence[str]
    training: Sequence[str]
    seconds: tuple[float | None, float | None, float | None] = (None, None, None)


LOOSE = ("solver.rtol=1e-3", "solver.atol=1e-5")
PROBLEMS = {
    "GAS": Problem(
        ("experiment=gas_sized",), (*LOOSE, "train.steps=400"), seconds=(70.0, 25.0, 50.0)
    ),
    "MINIBOONE": Problem(
        ("experiment=miniboone_sized", "train.batch_size=100"),
        (*LOOSE, "train.steps=400"),
        seconds=(70.0, 35.0, 70.0),
    ),
    "KdV": Problem(
        ("experiment=kdv", "train.batch_size=20", "task.horizon=10"),
        (*LOOSE, "train.steps=400", "optim=adam_cosine"),
        seconds=(90.0, 60.0, 65.0),
    ),
}
PAPER = {
    "GAS": Problem(("experiment=gas_sized", "model.components=5"), ("train.steps=10000",)),
    "MINIBOONE": Problem(("experiment=miniboone_sized",), ("train.steps=10000",)),
    "KdV": Problem(("experiment=kdv",), ("train.steps=10000",)),
}


def training(name: str, problem: Problem) -> Command:
    """The training whose weights are measured."""
    settings = (
        "train.max_seconds=null",
        "train.figures=false",
        "train.test=false",
        "measure=none",
        "seed=0",
        "threads=2",
    )
    overrides = (*problem.settings, *settings, *problem.training)
    labels = {"part": "training", "data": name}
    return Command("train", overrides, labels, problem.seconds[0], isolate=False)


def benchmarks(
    name: str, problem: Problem, trained: Command, atols: Sequence[float], repeats: int
) -> Iterator[Command]:
    """All rows at every tolerance, on fresh weights and on those of the training."""
    for weights, taken, seconds in (
        ("fresh", None, problem.seconds[1]),
        ("trained", trained, problem.seconds[2]),
    ):
        for atol in atols:
            yield Command(
                "bench",
                (
                    *problem.settings,
                    f"solver.atol={atol:g}",
                    f"solver.rtol={100 * atol:g}",
                    f"grads=[{','.join(GRADS)}]",
                    rows_setting(ADJOINT_FULL),
                    "peers=[torchdiffeq]",
                    "peer_traces=[tangent]",
                    f"repeats={repeats}",
                    "measure=none",
                    "compare=false",
                    "seed=0",
                    "threads=2",
                ),
                {"data": name, "weights": weights, "atol": atol},
                seconds,
                taken,
                isolate=False,
            )


def preset(
    problems: Mapping[str, Problem],
    atols: Sequence[float],
    repeats: int,
    notes: Sequence[str],
    *more: str,
) -> Preset:
    """The trainings, then the benchmarks of all problems."""
    commands, prepared = [], []
    for name, problem in problems.items():
        problem = replace(problem, settings=(*problem.settings, *more))
        prepared.append(training(name, problem))
        commands += benchmarks(name, problem, prepared[-1], atols, repeats)
    return Preset(commands, notes, prepared)


def paper(_: Namespace) -> Preset:
    """The sizes of the paper."""
    return preset(
        PROBLEMS | PAPER,
        ATOLS,
        20,
        [
            "Synthetic mixtures in place of the data, with FFJORD's networks: GAS with M = 5, "
            "MINIBOONE with M = 1, batch 1,000; KdV's energy network as published, one interval. "
            "The paper's tolerance is atol 1e-8, rtol 1e-6. How long its weights were trained when "
            "its seconds were taken: not verified; here 10,000 iterations."
        ],
    )


def cpu(_: Namespace) -> Preset:
    """Fits two cores."""
    return preset(
        PROBLEMS,
        ATOLS,
        20,
        [
            "GAS: a synthetic mixture in its place, 8-d, 160-160-160 tanh, batch 1,000, dopri5, "
            "float32. MINIBOONE: likewise, 43-d, 860-860 softplus, batch reduced from 1,000 to "
            "100. KdV: energy network of 200-200 channels, dop853, float64, batch reduced from 200 "
            "to 20; a solve spans 10 intervals, and the loss has all 10 snapshots, at each of "
            "which the adjoint method ends a step. M = 1, rtol = 100 atol, time: median "
            "[quartiles] of 20 evaluations of the loss and its gradient.",
            "Trained weights: those after 400 iterations at rtol 1e-3 (reduced: minutes).",
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    flow = ("experiment=gas_sized", "data.size=20", "model.hidden=[4]", "train.batch_size=4")
    tiny = {"GAS": Problem(flow, (*LOOSE, "train.steps=2"))}
    return preset(tiny, (1e-2, 1e-4), 2, ["A tiny network; no result."])


def report(results: Results) -> Drawn:
    """Seconds, counts, what the law says of them, and the figure."""
    runs, compared = results.runs, comparisons(results.runs)
    rows = ("data", "weights", "atol")
    time = pivot(runs, rows, ["grad"], ["time"], quartiles=True, counts=False)
    counts = pivot(
        runs,
        rows,
        ["grad"],
        ["steps.accepted", "steps.rejected", "evaluations"],
        counts=False,
    )
    sheets = [
        Sheet("times", time, "Seconds of one iteration"),
        Sheet(
            "law",
            law_table(compared),
            "Time of symplectic over that of the adjoint method: measured (law, by evaluations)",
            [*verdicts(compared), *LAW_NOTES],
            mark_best=False,
        ),
        Sheet(
            "counts",
            counts,
            "Accepted and rejected steps (an adjoint method's in both directions), evaluations",
            mark_best=False,
        ),
        Sheet(
            "weights",
            weights_table(runs),
            "What the weights are worth",
            [WORTH],
            mark_best=False,
        ),
    ]
    figures = {"times": figure_of(compared)} if len(compared) else {}
    return Drawn([sheet for sheet in sheets if len(sheet.table)], figures)


WORTH = (
    "Loss of the batch, on fresh points of a mixture: nats, by Hutchinson's trace, at the tightest "
    "tolerance. Fitted Gaussian: with the mixture's mean and covariance; truth: its own density. "
    "KdV: the mean squared error of the rate of change."
)
LAW_NOTES = (
    "Law: 4N s / ((N + 2N') s'), with the stages kept 3N s / ((N + 2N') s'), from the accepted "
    "steps; s' is the adjoint's number of uses in a step where torchdiffeq has another tableau "
    "(dopri8 for dop853), and N in the denominator torchdiffeq's own. By evaluations: the same "
    "with what was counted, rejected steps included: evaluations of any kind and vector-Jacobian "
    "products, each as one.",
    "adjoint: the error of the parameters' integral is left out of the step control; adjoint_full: "
    "it counts, as published; torchdiffeq adjoint: its odeint_adjoint with its own seminorm.",
)


def law(cost: float, n: float, forward: float, backward: float) -> float:
    """Time of an exact method over that of the adjoint method, by the paper's Table 1.

    Args:
        cost: of a step of the exact method, in units of s uses: 4, with the stages kept 3.
        n: N, its steps.
        forward: the adjoint method's steps forward.
        backward: N', its steps backward.
    """
    return cost * n / (forward + 2 * backward)


def comparisons(runs: pd.DataFrame) -> pd.DataFrame:
    """For every cell, row of the adjoint method and store: steps, the times' ratio, the law's.

    Returns:
        Columns: `KEYS`, "adjoint", "store", "N" (forward, the adjoint row's own), "N'", "measured",
        "law" and "evaluations", the ratio of what was counted.
    """
    good = where(runs, runs["status"] == "ok")
    found = []
    for _, cell in good.groupby(list(KEYS), sort=False):
        cell = cell.drop_duplicates("grad").set_index("grad")
        steps, time = (_by_row(cell, key) for key in ("steps.accepted", "seconds.iteration.median"))
        kinds = [_by_row(cell, f"evaluations.{kind}") for kind in KINDS]
        work = {grad: sum(counts[grad] for counts in kinds) for grad in steps}
        uses = {name: SOLVERS[str(s)].uses for name, s in cell["solver"].items()}
        for adjoint, twin in FORWARD.items():
            for store, cost in COSTS.items():
                if not {adjoint, twin, store} <= set(cell.index):
                    continue
                backward = steps[adjoint] - steps[twin]
                expected = law(cost, steps[store], steps[twin], backward)
                found.append(
                    {
                        **{key: cell[key].iloc[0] for key in KEYS},
                        "adjoint": adjoint,
                        "store": store,
                        "N": steps[twin],
                        "N'": backward,
                        "measured": time[store] / time[adjoint],
                        "law": expected * uses[store] / uses[adjoint],
                        "evaluations": work[store] / work[adjoint],
                    }
                )
    return pd.DataFrame(found)


def _by_row(cell: pd.DataFrame, key: str) -> dict[str, float]:
    return {str(grad): float(value) for grad, value in numbers(column(cell, key)).items()}


def law_table(compared: pd.DataFrame) -> pd.DataFrame:
    """A row for each cell: for every adjoint N, N' and the ratios of both stores."""
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for pair in compared.to_dict("records"):
        data, weights, atol = (pair[key] for key in KEYS)
        row = rows.setdefault((str(data), str(weights), f"{atol:g}"), {})
        row[f"{pair['adjoint']}: N, N'"] = f"{pair['N']:.0f}, {pair[_BACKWARD]:.0f}"
        row[f"{pair['adjoint']}: {pair['store']}"] = (
            f"{pair['measured']:.3g} ({pair['law']:.3g}, {pair['evaluations']:.3g})"
        )
    table = pd.DataFrame(rows).T.fillna(MISSING)
    if rows:
        table.index.names = ["data", "weights", "atol"]
    return table


_BACKWARD = "N'"


def weights_table(runs: pd.DataFrame) -> pd.DataFrame:
    """The loss with fresh and with trained weights, beside what needs no network."""
    good = where(runs, (runs["status"] == "ok") & (runs["grad"] == "symplectic"))
    rows = {}
    for name, own in good.sort_values("atol").groupby("data.name", sort=False):
        losses = own.drop_duplicates("weights").set_index("weights")["metrics.loss"]
        told = {f"{weights} weights": loss for weights, loss in losses.items()}
        if str(own["config.data._target_"].iloc[0]).endswith("Mixture"):
            told |= without_network(int(own["data.dim"].iloc[0]))
        rows[name] = {column: f"{value:.4g}" for column, value in told.items()}
    table = pd.DataFrame(rows).T.fillna(MISSING)
    table.index.name = "data"
    return table


def without_network(dim: int) -> dict[str, float]:
    """Cross-entropies (nats) of the mixture of seed 0; its coordinates have mean 0, variance 1."""
    mixture = Mixture(dim=dim, seed=0)
    means, factors = mixture.means, mixture.factors
    covariance = (factors @ factors.mT + means.unsqueeze(2) * means.unsqueeze(1)).mean(0)
    standard = 0.5 * dim * (1 + math.log(2 * math.pi))
    return {
        "N(0, I)": standard,
        "fitted Gaussian": standard + 0.5 * float(covariance.logdet()),
        "truth": -float(mixture.log_prob(mixture.test).mean()),
    }


def verdicts(compared: pd.DataFrame) -> list[str]:
    """Where each store is faster than each adjoint, and whether the law holds."""
    told = []
    for store, cost in COSTS.items():
        for adjoint in FORWARD:
            if len(own := _of(compared, adjoint, store)):
                told.append(f"{store} against {adjoint}: {_faster(own)}")
        if len(own := _of(compared, None, store)):
            told.append(f"The law {cost}N/(N + 2N') for {store}: {_holds(own)}")
    return told


def _of(compared: pd.DataFrame, adjoint: str | None, store: str) -> pd.DataFrame:
    if compared.empty:
        return compared
    chosen = compared["store"] == store
    return where(compared, chosen if adjoint is None else chosen & (compared["adjoint"] == adjoint))


def _faster(own: pd.DataFrame) -> str:
    ratio = numbers(own["measured"])
    places = [
        f"{part['data.name'].iloc[0]}, {part['weights'].iloc[0]}: "
        f"{(part['measured'] < 1).sum()} of {len(part)}"
        for _, part in own.groupby(["data.name", "weights"], sort=False)
    ]
    return (
        f"faster in {(ratio < 1).sum()} of {len(own)} cells ({'; '.join(places)}); the ratio of "
        f"times is {ratio.min():.2f} to {ratio.max():.2f}, {np.exp(np.log(ratio).mean()):.2f} in "
        "the geometric mean."
    )


def _holds(own: pd.DataFrame) -> str:
    measured = numbers(own["measured"])
    sides, apart = [], []
    for name in ("law", "evaluations"):
        expected = numbers(own[name])
        sides.append(int(((expected < 1) == (measured < 1)).sum()))
        apart.append(100 * np.expm1(np.log(measured / expected).abs().median()))
    rank = measured.rank().corr((own["N'"] / own["N"]).rank())
    return (
        f"it says rightly which is faster in {sides[0]} of {len(own)} comparisons and is off by a "
        f"median of {apart[0]:.0f} %; by evaluations counted {sides[1]} and {apart[1]:.0f} %. Rank "
        f"correlation of the ratio of times with N'/N: {rank:.2f}."
    )


def figure_of(compared: pd.DataFrame) -> Figure:
    """The ratio of times against N'/N above, against the ratio of evaluations below."""
    figure, axes = panel_grid([*COSTS, *COSTS], height=2.5)
    ratio = numbers(compared["N'"]) / numbers(compared["N"])
    for ax, store in zip(axes, COSTS, strict=False):
        own = compared["store"] == store
        x = np.geomspace(ratio.min() / 1.2, ratio.max() * 1.2, 100)
        curve = [law(COSTS[store], 1.0, 1.0, backward) for backward in x]
        ax.plot(x, curve, color="#1A1A1A", linewidth=1.0, label="law of Table 1")
        _points(ax, where(compared, own), ratio[own])
        dress(ax, "backward over forward steps N'/N", _label(store), f"{COSTS[store]}N / (N + 2N')")
    for ax, store in zip(axes[2:], COSTS, strict=True):
        own = where(compared, compared["store"] == store)
        x = numbers(own["evaluations"])
        equal = np.geomspace(x.min() / 1.1, x.max() * 1.1, 100)
        ax.plot(equal, equal, color="#1A1A1A", linewidth=1.0)
        _points(ax, own, x)
        dress(ax, "ratio of evaluations counted", _label(store), "")
    legend_above(figure, axes)
    return figure


def _label(store: str) -> str:
    return f"time: {store.replace('_', ' ')} / adjoint"


def _points(ax: Axes, own: pd.DataFrame, x: pd.Series) -> None:
    """A point for each comparison: hollow for fresh weights, full for trained ones."""
    styles = styles_of(FORWARD)
    ax.axhline(1.0, color="#8C8C8C", linewidth=0.8)
    for adjoint in FORWARD:
        for weights in ("fresh", "trained"):
            chosen = (own["adjoint"] == adjoint) & (own["weights"] == weights)
            ax.plot(
                list(x[chosen]),
                list(own["measured"][chosen]),
                color=styles[adjoint].color,
                marker=styles[adjoint].marker,
                markerfacecolor="none" if weights == "fresh" else None,
                markersize=4,
                linestyle="none",
                label=f"{adjoint}, {weights} weights",
            )
    log_if_wide(ax, "x", x)
    log_if_wide(ax, "y", own["measured"])


EXPERIMENT = Experiment(
    name="times",
    purpose="Time of the symplectic adjoint method against that of the adjoint method.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
