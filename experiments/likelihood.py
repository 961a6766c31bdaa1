"""Do all gradient methods reach the same likelihood? Flows trained until there is one to compare.

    python experiments/likelihood.py --preset cpu     run what is missing, write results/likelihood
    python experiments/likelihood.py launcher.workers=2     two trainings at once
    python experiments/likelihood.py --preset paper   the paper's; needs: symadj-data fetch maf
    python experiments/likelihood.py --dry-run        the commands and how long they take
    python experiments/likelihood.py --redraw         tables and figure from the saved records

Mixtures are trained to within 0.1 nats of their known density, real data until the flow beats a
fitted normal density. The data and their split are fixed, the seed of weights, batches and noise
varies, and methods are compared at the same seed.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import flows
from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.command import quoted
from harness.paired import differences, interval, mean_with_interval
from symadj.figures.panels import panel_grid
from symadj.figures.style import dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING

GRADS = ("adjoint", "adjoint_full", "backprop", "checkpoint", "aca", "symplectic")
SEEDS = 5
NEAR = 0.1
"""Nats from the truth that a flow of synthetic data is to reach, and within which methods agree."""
NLL, BITS = "metrics.test/nll", "metrics.test/bits_per_dim"
COMMON = (
    "data.seed=0",
    "threads=1",
    "train.max_seconds=null",
    "train.figures=false",
    "measure=none",
    flows.BESIDE,
    "task.exact_test=true",
)


@dataclass(frozen=True)
class Row:
    """A data set and how its flow is trained.

    Attributes:
        label: its name in the table.
        data: overrides.
        hidden: widths of the flow's layers.
        steps: iterations, over which the learning rate falls along half a cosine to 0.
        every: iterations from one validation to the next.
        lr: learning rate.
        batch: of training.
        iteration: seconds of one, about, one thread, slowest method.
        more: further overrides.
    """

    label: str
    data: tuple[str, ...]
    hidden: tuple[int, ...] = (64, 64, 64)
    steps: int = 1000
    every: int = 100
    lr: float = 1e-2
    batch: int = 200
    iteration: float = 0.08
    more: tuple[str, ...] = ()

    def overrides(self) -> tuple[str, ...]:
        """Of its trainings, but for method and seed."""
        return (
            *self.data,
            *COMMON,
            f"model.hidden=[{','.join(map(str, self.hidden))}]",
            "optim=adam_cosine",
            f"optim.lr={self.lr:g}",
            f"train.batch_size={self.batch}",
            f"train.steps={self.steps}",
            f"train.eval_every={self.every}",
            *self.more,
        )

    def told(self) -> str:
        """What a note says of it."""
        widths = "-".join(map(str, self.hidden))
        return f"{self.label}: {widths}, {self.steps:,} iterations of {self.batch}, {self.lr:g}"


def mixture(dim: int, size: int = 2000) -> tuple[str, ...]:
    """Synthetic data of some dimension, fresh points in every batch."""
    return ("data=mixture", f"data.dim={dim}", f"data.size={size}")


EXACT = ("model.trace=exact",)
# A flow learns five modes of so many dimensions in thousands of iterations.
TWO_MODES = {dim: (*mixture(dim), "data.modes=2") for dim in (6, 8)}
MIXTURES = (
    Row("mixture, 2-d", mixture(2), (64, 64), 1000, iteration=0.1, more=EXACT),
    Row("mixture, 6-d", TWO_MODES[6], (64, 64), 1000, batch=100, iteration=0.1, more=EXACT),
    Row("mixture, 8-d", TWO_MODES[8], (64, 64), 1000, batch=100, iteration=0.1, more=EXACT),
)
SHUTTLE = Row("shuttle, 9-d", ("data=shuttle",), (64, 64), more=("train.patience=10",))
DIGITS = Row("digits, 64-d", ("data=digits",), steps=600, every=50, more=("train.patience=10",))


def miniboone(arguments: Namespace) -> Row:
    """The rows of MINIBOONE that the user has, else points of its dimension."""
    if arguments.miniboone is None:
        return Row("mixture, 43-d, for MINIBOONE", mixture(43), (64, 64), 400)
    file = ("data=csv", f"data.path={quoted(arguments.miniboone.absolute())}")
    more = ("train.patience=10",)
    return Row("MINIBOONE's first rows, 43-d", file, (64, 64), 400, 20, more=more)


def trainings(row: Row, seeds: int, *more: str) -> list[Command]:
    """All methods on a data set, for every seed."""
    return [
        Command(
            "train",
            (*row.overrides(), *more, *flows.METHODS[grad], f"seed={seed}"),
            {"data": row.label, "grad": grad, "seed": seed},
            10.0 + row.steps * row.iteration,
        )
        for seed in range(seeds)
        for grad in GRADS
    ]


def cpu(arguments: Namespace) -> Preset:
    """What two cores can carry."""
    rows = [*MIXTURES, SHUTTLE, miniboone(arguments), DIGITS]
    notes = [
        "Synthetic mixtures: 5 modes (2 in 6-d and 8-d), 2 deviations apart, fresh points in every "
        "batch, tested on 2,000; up to 8-d trained with the exact trace, all else with its "
        "estimate. shuttle (49,097 rows), MINIBOONE's first rows where they are given (1,523; else "
        "a mixture of its dimension stands in) and digits (1,797 images) are real, split 80/10/10. "
        "Splits are those of data.seed=0 in every run.",
        f"Flows of one component, tanh, dopri5 at rtol = atol = 1e-5, float32, Adam, {SEEDS} seeds "
        f"of weights, batches and noise. Widths, iterations, batch and learning rate (half a "
        f"cosine to 0): {'; '.join(row.told() for row in rows)}. Training of real data stops after "
        "10 validations without improvement.",
        *scored(),
    ]
    return Preset([command for row in rows for command in trainings(row, SEEDS)], notes)


def scored() -> list[str]:
    """Notes of all presets."""
    return [
        "Scored are the weights of the least NLL in a validation, on the test split with the exact "
        "trace. Fitted Gaussian: mean and covariance of the training split, empirical or shrunk "
        "after Ledoit and Wolf, the better on the validation split. Intervals: bootstrap over "
        "seeds, 95 %.",
        flows.ADJOINT_ROWS,
    ]


def paper(_: Namespace) -> Preset:
    """The archive's data and FFJORD's settings."""
    fixed = (
        *("model.noise=gaussian", "solver.rtol=1e-6", "solver.atol=1e-8", "train.batch_size=1000"),
        *("optim=adam_plateau", "train.steps=10000", "train.eval_every=200", "train.patience=31"),
    )
    commands = []
    for name, net in flows.NETS.items():
        data = (f"data={name.lower()}", *(o for o in COMMON if o != "data.seed=0"))
        how = (*data, *net.overrides(), *fixed)
        commands += [
            Command(
                "train",
                (*how, *flows.METHODS[grad], f"seed={seed}"),
                {"data": name, "grad": grad, "seed": seed},
            )
            for seed in range(SEEDS)
            for grad in GRADS
        ]
    note = (
        "The tabular archive's data, FFJORD's networks with their M, batch 1,000, dopri5, atol "
        "1e-8, rtol 1e-6, Adam at 1e-3 with FFJORD's drops of the rate, at most 10,000 iterations. "
        "The paper's own number of iterations and its seeds are not verified."
    )
    return Preset(commands, [note, *scored()])


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    loose = ("solver.rtol=1e-1", "solver.atol=1e-1")
    rows = [
        Row("mixture, 2-d", mixture(2, 20), (4,), 2, 1, batch=8),
        Row("digits, 64-d", ("data=digits",), (4,), 2, 1, batch=8),
    ]
    commands = [command for row in rows for command in trainings(row, 2, *loose)]
    tiny = [replace(command, isolate=False) for command in commands]
    return Preset(tiny, ["Tiny flows; no result."])


def options(parser: ArgumentParser) -> None:
    """Where data lie that are not symadj's to give."""
    parser.add_argument("--miniboone", type=Path, help="rows of MINIBOONE, .npy or .csv")


# Report


def report(results: Results) -> Drawn:
    """A row for every data set, method and baseline; the differences to backprop."""
    runs = results.runs
    sheet = Sheet(
        "likelihood",
        table_of(runs),
        "Test NLL (nats) of flows and baselines, mean [95 % interval] over seeds",
        verdict(runs),
        mark_best=False,
    )
    return Drawn([sheet], {"likelihood": figure_of(runs)})


def data_of(runs: pd.DataFrame) -> list[str]:
    """The data sets in the order of the table, which is that of the commands."""
    return list(dict.fromkeys(map(str, runs["data"])))


def good_of(runs: pd.DataFrame, data: str) -> pd.DataFrame:
    """The trainings on a data set that ended well."""
    return where(runs, (runs["data"] == data) & (runs["status"] == "ok"))


def values(runs: pd.DataFrame, grad: str, name: str) -> list[float]:
    """What the runs of a method have under a key."""
    return list(numbers(column(where(runs, runs["grad"] == grad), name)).dropna())


def less_backprop(runs: pd.DataFrame, grad: str) -> list[float]:
    """NLLs of a method less backprop's, at the same seeds."""
    found = differences(runs, NLL, "backprop") if len(runs) else pd.DataFrame()
    return list(found[grad].dropna()) if grad in found else []


def table_of(runs: pd.DataFrame) -> pd.DataFrame:
    """The NLL, its distance to the baselines and to backprop, bits per dimension of images."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for data in data_of(runs):
        good = good_of(runs, data)
        beside, bits = flows.baseline_values(good), flows.baseline_values(good, "bits")
        for name, value in beside.items():
            shown = {"NLL": f"{value:.4g}"}
            if name in bits:
                shown["bits/dim"] = f"{bits[name]:.4g}"
            rows[(data, flows.BASELINES[name])] = shown
        for grad in flows.grads_of(where(runs, runs["data"] == data)):
            nll = values(good, grad, NLL)
            row = {"NLL": mean_with_interval(nll, 4), "seeds": str(len(nll))}
            if bits:
                row["bits/dim"] = mean_with_interval(values(good, grad, BITS), 4)
            if grad != "backprop":
                row["less backprop's"] = mean_with_interval(less_backprop(good, grad), 2)
            for name, title in (("truth", "above the truth"), ("gaussian", "below the Gaussian")):
                if name in beside and nll:
                    sign = 1 if name == "truth" else -1
                    row[title] = f"{sign * (np.mean(nll) - beside[name]):.3g}"
            rows[(data, grad)] = row
    columns = ["NLL", "less backprop's", "above the truth", "below the Gaussian", "bits/dim"]
    index = pd.MultiIndex.from_tuples(list(rows), names=["data", ""])
    table = pd.DataFrame(list(rows.values()), dtype=object, columns=[*columns, "seeds"])
    return table.fillna(MISSING).set_axis(index)


def verdict(runs: pd.DataFrame) -> list[str]:
    """Whether all methods reach the same likelihood, and whether it is one worth comparing."""
    found = {
        (data, grad): less_backprop(good_of(runs, data), grad)
        for data in data_of(runs)
        for grad in flows.grads_of(runs)
        if grad != "backprop"
    }
    found = {key: d for key, d in found.items() if len(d) > 1}
    told = [goals(runs)]
    if not found:
        return ["Too few seeds to compare methods.", *told]
    sides = {key: interval(d) for key, d in found.items()}
    apart = [key for key, (low, high) in sides.items() if low > NEAR or high < -NEAR]
    within = [key for key, (low, high) in sides.items() if low >= -NEAR and high <= NEAR]
    largest = max(found, key=lambda key: abs(np.mean(found[key])))
    if apart:
        named = "; ".join(f"{grad} on {data}" for data, grad in apart)
        claim = f"Not all methods reach the same likelihood: {named} differ from backprop."
    elif len(within) == len(found):
        claim = "All methods reach the same likelihood here."
    else:
        claim = "No method is seen to reach another likelihood here, and not all are sure to agree."
    return [
        f"{claim} Paired differences to backprop have 95 % intervals within {NEAR:g} nats in "
        f"{len(within)} of {len(found)} cases (a method on a data set); the largest mean is "
        f"{mean_with_interval(found[largest], 2)} nats ({largest[1]}, {largest[0]}).",
        *told,
    ]


def goals(runs: pd.DataFrame) -> str:
    """How far the flows of every data set are from the truth, or below the fitted Gaussian."""
    told = []
    for data in data_of(runs):
        good = good_of(runs, data)
        nll, beside = numbers(column(good, NLL)).dropna(), flows.baseline_values(good)
        if nll.empty or "gaussian" not in beside:
            continue
        if "truth" in beside:
            far = float(nll.mean()) - beside["truth"]
            word = "" if far <= NEAR else f", not within {NEAR:g}"
            told.append(f"{data}: {far:.2g} nats above the truth{word}")
        else:
            gain = beside["gaussian"] - float(nll.mean())
            word = "below" if gain > 0 else "ABOVE"
            told.append(f"{data}: {abs(gain):.3g} nats {word} the fitted Gaussian")
    return f"What the flows have learned, mean over all runs: {'; '.join(told)}."


def figure_of(runs: pd.DataFrame) -> Figure:
    """Differences to backprop: a panel for every data set, a point for every seed."""
    chosen = data_of(runs)
    figure, axes = panel_grid(chosen, height=1.9)
    grads = [grad for grad in flows.grads_of(runs) if grad != "backprop"]
    styles = styles_of(grads)
    for ax, data in zip(axes, chosen, strict=True):
        good = good_of(runs, data)
        for i, grad in enumerate(grads):
            points = [(float(i), less_backprop(good, grad))]
            flows.draw_intervals(ax, points, styles[grad], joined=False, seeds=True)
        ax.axhline(0, color="0.5", linewidth=0.8)
        ax.set_xticks(range(len(grads)), grads, rotation=30, ha="right")
        _tell_baselines(ax, good)
        dress(ax, "", "NLL less backprop's (nats)", data)
    return figure


def _tell_baselines(ax: Axes, runs: pd.DataFrame) -> None:
    """Names what the NLLs are beside: they are too far off for lines."""
    nll = numbers(column(runs, NLL)).dropna()
    texts = [f"flows {nll.mean():.4g}"] if len(nll) else []
    texts += [f"{flows.BASELINES[n]} {v:.4g}" for n, v in flows.baseline_values(runs).items()]
    ax.text(0.02, 0.98, "\n".join(texts), transform=ax.transAxes, fontsize=6, va="top", color="0.3")


EXPERIMENT = Experiment(
    name="likelihood",
    purpose="The likelihood that flows reach with every gradient method.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
    arguments=options,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
