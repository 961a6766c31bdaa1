"""Rounding errors of gradients in float32 and with bfloat16 fields, against the number of steps.

    python experiments/rounding.py --preset cpu    measure what is missing, write results/rounding
    python experiments/rounding.py --dry-run       the commands and how long they take
    python experiments/rounding.py --redraw        table and figure from the saved records

Errors are relative to the gradient in float64 on the same steps, same weights, batch and noise. The
exact methods differ from it by rounding alone; the continuous adjoint differs by its own error too,
which falls with the steps. The weights are those of a short training: gradients of fresh ones have
little to lose.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

import pandas as pd

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.figures import draw_line
from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import ordered
from symadj.report.tables import pivot

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
FLOW = ("data=mixture", "data.dim=8", "model.hidden=[64,64,64]", "threads=1")
# Seconds of all five methods for a step of rk4, with their repetitions in float64.
PER_STEP, STARTS = 0.11, 3.0


def training(*more: str, seconds: float = 25.0) -> Command:
    """The training whose weights are measured."""
    settings = (
        "train.steps=300",
        "train.max_seconds=null",
        "train.figures=false",
        "train.test=false",
        "measure=none",
        "solver.rtol=1e-3",
        "solver.atol=1e-5",
    )
    return Command("train", (*FLOW, *settings, *more), {"what": "training"}, seconds)


def commands(
    trained: Command, steps: tuple[int, ...], batch: int, grads: tuple[str, ...], *more: str
) -> list[Command]:
    """A benchmark of all methods for every number of steps and precision."""
    return [
        Command(
            "bench",
            (
                *FLOW,
                "solver=rk4",
                f"steps=[{n}]",
                f"train.batch_size={batch}",
                f"grads=[{','.join(grads)}]",
                "repeats=1",
                "measure=none",
                f"autocast={autocast}",
                *more,
            ),
            {"precision": precision, "N": n},
            STARTS + PER_STEP * n * batch / 50,
            weights=trained,
            isolate=False,
        )
        for precision, autocast in (("float32", "null"), ("bfloat16", "bfloat16"))
        for n in steps
    ]


def preset(steps: tuple[int, ...], batch: int, trained: Command, note: str) -> Preset:
    """Both precisions."""
    told = (
        f"Synthetic mixture, 8-d, a flow of 64-64-64 tanh, rk4 with N steps, batch {batch}, "
        f"weights of a training of {note}."
    )
    way = (
        "float32: state, field and gradient; bfloat16: the field's matrix products under "
        "torch.autocast, state and sums in float32."
    )
    return Preset(commands(trained, steps, batch, GRADS), [told, way], [trained])


def paper(_: Namespace) -> Preset:
    """A finer grid of N, a larger batch."""
    steps = (10, 20, 50, 100, 200, 500, 1000)
    return preset(steps, 1000, training("train.steps=2000", seconds=160.0), "2,000 iterations")


def cpu(_: Namespace) -> Preset:
    """Fits two cores."""
    steps = (10, 30, 100, 300, 1000)
    return preset(steps, 50, training(), "300 iterations (reduced for two cores, the batch too)")


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    small = ("model.hidden=[4]", "data.size=20", "threads=1")
    tiny = replace(training("train.steps=2", *small, "train.batch_size=4"), isolate=False)
    return Preset(commands(tiny, (2,), 4, GRADS[2:], *small), ["No result."], [tiny])


def report(results: Results) -> Drawn:
    """A table of errors, and a panel for each precision."""
    runs = results.runs
    table = pivot(runs, ["precision", "N"], ["grad"], ["gradient_error"], counts=False)
    kinds = [kind for kind in ("float32", "bfloat16") if (runs["precision"] == kind).any()]
    figure, axes = panel_grid(kinds, height=2.7)
    names = [name for (name,) in ordered({(str(name),) for name in runs["grad"]})]
    styles = styles_of(names)
    for ax, kind in zip(axes, kinds, strict=True):
        for name in names:
            own = where(runs, (runs["precision"] == kind) & (runs["grad"] == name))
            errors = numbers(own["metrics.gradient_error"])
            draw_line(ax, numbers(own["N"]), errors, styles[name], name)
        ax.set_xscale("log")
        ax.set_yscale("log")
        title = {"float32": "float32", "bfloat16": "bfloat16 field"}[kind]
        dress(ax, "steps N", "relative error of the gradient" if ax is axes[0] else "", title)
    legend_above(figure, axes, names)
    title = "Relative error of the gradient against float64 on the same steps"
    sheet = Sheet("rounding", table, title, [agreement(results.runs)], mark_best=False)
    return Drawn([sheet], {"rounding": figure})


def agreement(runs: pd.DataFrame) -> str:
    """How far the exact methods' errors are apart: what they have in common is the solution's."""
    exact = where(runs, (runs["status"] == "ok") & (runs["grad"] != "adjoint"))
    kept = exact.assign(error=numbers(column(exact, "metrics.gradient_error")))
    points = [part["error"] for _, part in kept.groupby(["precision", "N"])]
    apart = 100 * max(float(errors.max()) / float(errors.min()) - 1 for errors in points)
    return (
        f"The errors of the exact methods differ by at most {apart:.2g} % of each other at any N: "
        "what they share is the rounding of the forward solution."
    )


EXPERIMENT = Experiment(
    name="rounding",
    purpose="Rounding errors of gradients against the number of steps.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
