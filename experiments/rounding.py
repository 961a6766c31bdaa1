"""Rounding errors of gradients in float32, against the number of steps.

    python experiments/rounding.py --preset cpu    measure what is missing, write results/rounding
    python experiments/rounding.py --dry-run       the commands and how long they take
    python experiments/rounding.py --redraw        table and figure from the saved records

Errors are relative to the gradient in float64 on the same accepted steps, with the same weights,
batch and noise. The exact methods differ from it by rounding alone; the continuous adjoint differs
by its own error too, which falls with the steps. The weights are those of a training: gradients of
fresh ones have little to lose. Steps are adaptive ones of dopri5, as far as float32 allows, and
fixed ones of rk4 beyond. Every point is measured on several batches, each with its own noise, the
same for all methods, so that methods are compared batch by batch.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.paired import differences, interval
from harness.rows import ADJOINT_FULL, rows_setting
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import Style, dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING, ordered

GRADS = ("adjoint", "backprop", "checkpoint", "aca", "symplectic", "symplectic_stages")
INEXACT = ("adjoint", "adjoint_full")
TO = "backprop"
FLOW = (
    "data=mixture",
    "data.dim=8",
    "data.seed=0",
    "model.hidden=[64,64,64]",
    "threads=1",
)
CONTROLS = {"adaptive": "adaptive steps of dopri5", "fixed": "fixed steps of rk4"}
# Seconds of all methods for a step, their repetitions in float64 among them; and of starting.
PER_STEP, STARTS = 0.08, 3.0
MANY = 300


def training(steps: int, seconds: float, *more: str) -> Command:
    """The training whose weights are measured."""
    settings = (
        f"train.steps={steps}",
        "train.max_seconds=null",
        "train.figures=false",
        "train.test=false",
        "measure=none",
        "seed=0",
        "solver.rtol=1e-3",
        "solver.atol=1e-5",
    )
    labels = {"what": "training"}
    return Command("train", (*FLOW, *settings, *more), labels, seconds, isolate=False)


def benchmark(
    trained: Command,
    control: str,
    point: str,
    seed: int,
    batch: int,
    seconds: float,
    grads: Sequence[str],
    *settings: str,
) -> Command:
    """All methods on one batch."""
    return Command(
        "bench",
        (
            *FLOW,
            f"seed={seed}",
            f"train.batch_size={batch}",
            f"grads=[{','.join(grads)}]",
            "repeats=1",
            "measure=none",
            "time_limit=null",
            *settings,
        ),
        {"control": control, "point": point, "seed": seed},
        seconds,
        weights=trained,
        isolate=False,
    )


def adaptive(
    trained: Command, rtols: Sequence[float], seeds: int, batch: int, *more: str
) -> Iterator[Command]:
    """Steps by tolerance: N is what it comes to."""
    for rtol in rtols:
        tolerances = (f"solver.rtol={rtol:g}", f"solver.atol={rtol / 100:g}")
        rows = rows_setting(ADJOINT_FULL)
        for seed in range(seeds):
            settings = ("solver=dopri5", *tolerances, rows, *more)
            yield benchmark(
                trained, "adaptive", f"rtol {rtol:g}", seed, batch, 8.0, GRADS, *settings
            )


def fixed(
    trained: Command, steps: Sequence[int], seeds: int, batch: int, *more: str
) -> Iterator[Command]:
    """Fixed steps, for which the adjoint method has no norm to choose."""
    for n in steps:
        # The one checkpoint gives backpropagation's gradient, which need not be seen so often.
        grads = [name for name in GRADS if n <= MANY or name != "checkpoint"]
        for seed in range(seeds):
            seconds = STARTS + PER_STEP * n
            settings = ("solver=rk4", f"steps=[{n}]", *more)
            yield benchmark(trained, "fixed", f"N {n}", seed, batch, seconds, grads, *settings)


def told(batch: int, trained: str, note: str) -> list[str]:
    """The notes of a preset."""
    return [
        f"Synthetic mixture, 8-d, a flow of 64-64-64 tanh, float32, batch {batch}, weights after "
        f"{trained} iterations of training; adaptive: atol = rtol / 100. {note}"
    ]


def paper(_: Namespace) -> Preset:
    """More points, more batches, larger ones."""
    trained = training(2000, 160.0)
    commands = [
        *adaptive(trained, (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6), 20, 1000),
        *fixed(trained, (10, 20, 50, 100, 200, 500, 1000, 2000, 3000), 20, 1000),
    ]
    note = "20 batches at every point. What the paper's problem was: not verified."
    untimed = [replace(command, seconds=None) for command in commands]
    return Preset(untimed, told(1000, "2,000", note), [trained])


def cpu(_: Namespace) -> Preset:
    """Fits two cores."""
    trained = training(300, 25.0)
    commands = [
        *adaptive(trained, (1e-2, 1e-3, 1e-4, 1e-5), 10, 50),
        *fixed(trained, (10, 30, 100), 10, 50),
        *fixed(trained, (300, 1000), 5, 50),
        *fixed(trained, (3000,), 3, 50),
    ]
    note = (
        "Reduced for two cores: batch 50 in place of 1,000; 10 batches at every point, 5 at "
        "N = 300 and 1,000 and 3 at N = 3,000; checkpoint is left out from 1,000 on."
    )
    return Preset(commands, told(50, "300", note), [trained])


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    small = ("model.hidden=[4]", "data.size=20")
    tiny = training(2, 1.0, *small, "train.batch_size=4")
    commands = [*adaptive(tiny, (1e-2,), 2, 4, *small), *fixed(tiny, (2, 4), 2, 4, *small)]
    return Preset(commands, ["A tiny network; no result."], [tiny])


def report(results: Results) -> Drawn:
    """Errors of every method, and their ratios to backpropagation's at the same batch."""
    points = summary(results.runs)
    sheet = Sheet(
        "rounding",
        table_of(points),
        "Error of the gradient against float64 on the same steps, and its ratio to "
        "backpropagation's",
        [*verdicts(points), *NOTES],
        mark_best=False,
    )
    return Drawn([sheet], {"rounding": figure_of(points)} if len(points) else {})


NOTES = (
    "Error: |g - g64| / |g64| over all parameters, the geometric mean over batches. Ratios: of "
    "errors on the same batch and noise, the geometric mean with its 95 % bootstrap interval over "
    "batches. A line that would lie on another one is not drawn.",
)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """A row for every point and method.

    Returns:
        Columns "control", "point", "N" (the mean over batches), "grad", "batches", and geometric
        means over batches with their bootstrap intervals: "error", "low", "high" of the error,
        "ratio", "ratio_low", "ratio_high" of its ratio to backpropagation's on the same batch.
    """
    runs = runs.assign(log=np.log(numbers(column(runs, "metrics.gradient_error"))))
    ratios = differences(runs, "log", TO, pairs=("control", "point", "seed"))
    good = where(runs, runs["status"] == "ok")
    steps = _steps(good)
    rows = []
    for _, own in good.groupby(["control", "point", "grad"], sort=False):
        control, point, grad = (str(own[key].iloc[0]) for key in ("control", "point", "grad"))
        found = {"control": control, "point": point, "N": steps[control, point], "grad": grad}
        pairs = ratios.loc[(control, point)]
        ratio = numbers(pairs[grad]).dropna() if grad in pairs else pd.Series(dtype=float)
        found |= {"batches": len(own)} | _means("error", "", own["log"])
        rows.append(found | _means("ratio", "ratio_", ratio))
    return pd.DataFrame(rows)


def _steps(good: pd.DataFrame) -> dict[tuple[str, str], float]:
    """N of every point, the mean over batches: the forward steps, which all exact methods share."""
    exact = where(good, ~good["grad"].isin(INEXACT))
    return {
        (str(own["control"].iloc[0]), str(own["point"].iloc[0])): float(
            numbers(column(own, "steps.accepted")).mean()
        )
        for _, own in exact.groupby(["control", "point"])
    }


def _means(name: str, prefix: str, logs: pd.Series) -> dict[str, float]:
    low, high = interval(list(logs))
    mean = float(np.mean(logs)) if len(logs) else float("nan")
    values = {name: mean, f"{prefix}low": low, f"{prefix}high": high}
    return {key: float(np.exp(value)) for key, value in values.items()}


def table_of(points: pd.DataFrame) -> pd.DataFrame:
    """A row for every point: N, backpropagation's error, and the other methods' ratios to it."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    names = [name for name in _names(points) if name != TO]
    for _, own in points.groupby(["control", "point"], sort=False):
        by = own.set_index("grad")
        row = {"N": f"{own['N'].iloc[0]:.4g}", "batches": f"{own['batches'].max()}"}
        row[f"{TO}: error"] = f"{by.at[TO, 'error']:.3g}" if TO in by.index else MISSING
        for name in names:
            row[f"{name}: ratio"] = _ratio(by.loc[name]) if name in by.index else MISSING
        rows[str(own["control"].iloc[0]), str(own["point"].iloc[0])] = row
    table = pd.DataFrame(rows).T
    if rows:
        table.index.names = ["steps", "point"]
    return table


def _names(points: pd.DataFrame) -> list[str]:
    return [name for (name,) in ordered({(str(name),) for name in points["grad"]})]


def _ratio(one: pd.Series) -> str:
    mean, low, high = (one[name] for name in ("ratio", "ratio_low", "ratio_high"))
    if np.isnan(mean):
        return MISSING
    if low == high == 1.0:
        return "1 (equal)"
    return f"{mean:.4g}" if np.isnan(low) else f"{mean:.4g} [{low:.4g}, {high:.4g}]"


def verdicts(points: pd.DataFrame) -> list[str]:
    """How much more or less rounding the exact methods suffer than backpropagation does."""
    told = []
    for name in _names(points):
        own = where(points, (points["grad"] == name) & points["ratio"].notna())
        if name == TO or name in INEXACT or own.empty:
            continue
        if (own["ratio"] == 1).all():
            told.append(f"{name}'s error is backpropagation's to the last digit at every point.")
            continue
        most = own.loc[numbers(own["N"]).idxmax()]
        apart = own.loc[numbers(own["ratio"]).map(math.log).abs().idxmax()]
        clear = (numbers(own["ratio_low"]) > 1) | (numbers(own["ratio_high"]) < 1)
        less = int((clear & (numbers(own["ratio"]) < 1)).sum())
        told.append(
            f"{name}'s error is {_ratio(most)} times backpropagation's at the most steps, "
            f"N = {most['N']:,.0f}, and {_ratio(apart)} times where it is furthest from it, "
            f"N = {apart['N']:,.0f}; the interval lies below 1 at {less} of {len(own)} points, "
            f"above it at {int(clear.sum()) - less}."
        )
    return told


def figure_of(points: pd.DataFrame) -> Figure:
    """Errors on the left, the exact methods' ratios to backpropagation's on the right."""
    controls = [control for control in CONTROLS if (points["control"] == control).any()]
    sides = [side for control in controls for side in (control, "ratio")]
    figure, axes = panel_grid(sides, height=2.3)
    names = _names(points)
    styles = styles_of(names)
    exact = _apart(points, [name for name in names if name not in (TO, *INEXACT)])
    for i, control in enumerate(controls):
        own = where(points, points["control"] == control)
        errors, ratios = axes[2 * i], axes[2 * i + 1]
        _lines(errors, own, [TO, *INEXACT], styles, ("error", "low", "high"))
        errors.set_yscale("log")
        percent = own.assign(
            **{key: 100 * (numbers(own[key]) - 1) for key in ("ratio", "ratio_low", "ratio_high")}
        )
        ratios.axhline(0.0, color="#8C8C8C", linewidth=0.8)
        _lines(ratios, percent, exact, styles, ("ratio", "ratio_low", "ratio_high"))
        dress(errors, "steps N", "relative error of the gradient", CONTROLS[control])
        dress(ratios, "steps N", "error, against backprop's (%)", CONTROLS[control])
        for ax in (errors, ratios):
            log_if_wide(ax, "x", own["N"])
    legend_above(figure, axes, names)
    return figure


def _apart(points: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The methods whose ratios are neither 1 nor those of one before them, at every point."""
    kept: dict[str, pd.Series] = {}
    table = points.pivot_table(index=["control", "point"], columns="grad", values="ratio")
    for name in names:
        if name in table:
            own = numbers(table[name])
            others = [own * 0 + 1, *kept.values()]
            if not any(np.allclose((own / other).dropna(), 1, atol=1e-6) for other in others):
                kept[name] = own
    return list(kept)


def _lines(
    ax: Axes,
    own: pd.DataFrame,
    names: Sequence[str],
    styles: Mapping[str, Style],
    keys: tuple[str, str, str],
) -> None:
    """A line with intervals for every method, each a little beside the others."""
    present = [name for name in names if (own["grad"] == name).any()]
    for i, name in enumerate(present):
        line = where(own, own["grad"] == name).sort_values("N")
        mean, low, high = (numbers(line[key]) for key in keys)
        beside = 1 + 0.04 * (i - (len(present) - 1) / 2)
        ax.errorbar(
            list(beside * numbers(line["N"])),
            list(mean),
            yerr=[list((mean - low).fillna(0.0).clip(0)), list((high - mean).fillna(0.0).clip(0))],
            color=styles[name].color,
            marker=styles[name].marker,
            linestyle=styles[name].dash,
            markersize=3.5,
            linewidth=1.2,
            capsize=2,
            label=name,
        )


EXPERIMENT = Experiment(
    name="rounding",
    purpose="Rounding errors of gradients against the number of steps.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
