"""What a gradient through a sampler costs, and what its exactness buys in guided sampling.

    python experiments/guidance.py --preset cpu     train, measure, then write results/guidance
    python experiments/guidance.py --dry-run        say how long that takes, measure nothing
    python experiments/guidance.py --redraw         tables and figures from the saved records

Memory and seconds per sample of the gradient of a loss on samples in their noise, over the number
of steps, for every gradient method and for torchdiffeq through the same trained networks; and how
well samples reach a goal by the exact gradient, by the continuous adjoint on the same few steps,
whose error is what Pan et al. (2023, arXiv:2312.12030) set out to mend, and by the one-step
estimate. Needs `pip install 'symadj[peers]'` for torchdiffeq's rows.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from guidance_points import CLASSES, LOOSE, PIXELS, REVERSIBLE, SOLVER, Plan, measured
from harness import Drawn, Results, Sheet
from harness.at_once import AtOnce, main
from harness.figures import draw_points
from harness.paired import mean_with_interval
from symadj.figures.guide import image_sheets
from symadj.figures.panels import legend_above, log_if_wide, panel_grid
from symadj.figures.style import Style, dress, styles_of
from symadj.report.frames import where
from symadj.report.names import MISSING

SECONDS = 1300.0  # of the preset cpu, about, on one core: reckoned from shorter runs
MLP = ("model=velocity_mlp",)
UNET = ("model=velocity_unet",)
PLANS = {
    "cpu": Plan(
        data=("data=digits",),
        nets={
            "MLP": (*MLP, "train.steps=8000"),
            "U-Net": (*UNET, "model.channels=[16,32]", "train.steps=600"),
        },
        classifiers=(
            ("model=classifier_conv", "task.noise=0.3", "train.steps=600", "seed=0"),
            ("model=classifier_conv", "train.steps=600", "seed=1", "data.seed=0"),
        ),
        steps=(5, 10, 20, 50, 100, 200),
        batch=16,
        repeats=5,
        seconds=10.0,
        budget=4 * 2**30,
        samples=200,
        coarse=(5, 20),
        gradients=(2, 5, 10, 20, 40),
    ),
    "paper": Plan(
        data=("data=mnist5k",),
        nets={
            "U-Net": (*UNET, "train.steps=20000"),
            "MLP": (*MLP, "model.width=1024", "train.steps=20000"),
        },
        classifiers=(
            ("model=classifier_conv", "task.noise=0.3", "train.steps=3000", "seed=0"),
            ("model=classifier_conv", "train.steps=3000", "seed=1", "data.seed=0"),
        ),
        steps=(5, 10, 20, 50, 100, 200),
        batch=16,
        repeats=5,
        seconds=10.0,
        budget=16 * 2**30,
        samples=500,
        coarse=(5, 20, 50),
        gradients=(2, 5, 10, 20, 40, 80),
        strengths=(10.0, 30.0, 100.0, 300.0),
    ),
    "smoke": Plan(
        data=("data=digits", "train.batch_size=8", "train.eval_every=1"),
        nets={
            "MLP": (*MLP, "model.width=4", "model.blocks=1", "train.steps=2"),
            "U-Net": (*UNET, "model.channels=[2,4]", "model.width=4", "train.steps=2"),
        },
        classifiers=(
            ("model=classifier_mlp", "model.hidden=[4]", "train.steps=2"),
            ("model=classifier_mlp", "model.hidden=[4]", "train.steps=2", "data.seed=0", "seed=1"),
        ),
        steps=(2, 3),
        batch=2,
        repeats=1,
        seconds=60.0,
        budget=2**30,
        samples=3,
        coarse=(2,),
        gradients=(1, 2),
        strengths=(1.0,),
    ),
}
METRICS = {
    CLASSES: ("judged to be of the class", "{:.3f}"),
    PIXELS: ("PSNR (dB)", "{:.2f}"),
}
STEPPED: dict[str, Style] = {
    "source, exact": Style("#C03A00", "o", "", (0, None)),
    "source, continuous adjoint": Style("#E69F00", "v", "", (0, (1.2, 1.2))),
    "step n=4, exact": Style("#0072B2", "s", "", (0, (5, 1.5)), hollow=True),
    "step n=4, continuous adjoint": Style("#56B4E9", "D", "", (0, (2, 2)), hollow=True),
    "step n=0, one-step estimate": Style("#1A1A1A", "^", "", (0, (6, 1.5, 1, 1.5)), hollow=True),
}


def notes(points: pd.DataFrame) -> list[str]:
    """What a reader of the tables must know."""
    costs, reached = (where(points, points["part"] == part) for part in ("cost", "success"))
    samples = int(reached["samples"].max()) if len(reached) else 0
    fewest, most = costs["repeats"].min(), costs["repeats"].max()
    return [
        f"Velocities trained by flow matching, N fixed steps, of {SOLVER} for the costs, float32; "
        f"{int(costs['batch'].max())} samples at once for the costs, which are told for each; "
        f"time: the median of {most:.0f} gradients, of {fewest:.0f} where they take long. "
        f"{REVERSIBLE} takes the steps of {SOLVER} made reversible, and other stages with them. "
        "Error: relative to the gradient of the same steps in float64.",
        "Reduced in the preset cpu: digits of 8x8 pixels, a U-Net of 16 and 32 channels that is "
        "trained for 600 steps and serves the costs alone; the MLP is guided.",
        f"Goals: {samples} samples by {LOOSE}, 95 % bootstrap intervals. Classes, each in turn, as "
        "a second classifier sees them that guided nothing; the upper half of the test images, "
        "PSNR over all pixels. way=step: the best of a few strengths, chosen on other noise. "
        "Evaluations: of the network, forward, recomputed or pulled back, each as one.",
    ]


def report(results: Results) -> Drawn:
    """The tables of costs and of success, their figures, and pictures."""
    points = results.runs
    costs, reached = (where(points, points["part"] == part) for part in ("cost", "success"))
    sheets = [
        Sheet("cost", cost_table(costs), "Peak memory and seconds of one gradient, per sample"),
        Sheet("success", success_table(reached), "Goals reached", verdicts(reached)),
    ]
    figures: dict[str, Figure | tuple[Figure, str]] = {
        "cost": (
            cost_figure(costs),
            "Peak memory and time of the gradient of a loss on samples in their noise, per sample, "
            "over the number of steps.",
        ),
        "success": (
            success_figure(reached),
            "How well guided samples reach their goal against the evaluations of the network, for "
            "the exact gradient, the continuous adjoint and the one-step estimate.",
        ),
    }
    kept = where(points, points["part"] == "pictures").to_dict("records")
    for row in kept:
        figures[str(row["goal"])] = (
            image_sheets([(title, _shown(levels)) for title, levels in row["images"].items()]),
            f"goal={row['goal']}: samples of the same noise before and after it was moved by exact "
            f"gradients through {row['N']:.0f} steps.",
        )
    return Drawn([Sheet(s.stem, s.table, s.title, s.notes, False) for s in sheets], figures)


def _shown(levels: Any) -> np.ndarray:
    images = np.asarray(levels, dtype=float)
    return np.where(images < 0, np.nan, images / 255)


def cost_table(costs: pd.DataFrame) -> pd.DataFrame:
    """A row for each network and method: memory, time and error at every N."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for point in costs.to_dict("records"):
        row = rows.setdefault((str(point["net"]), str(point["grad"])), {})
        n = f"N = {point['N']:.0f}"
        if point["status"] != "ok":
            row[n] = {"oom": "OOM"}.get(str(point["status"]), str(point["status"]))
            continue
        error = f", {point['error']:.1g}" if np.isfinite(point["error"]) else ""
        row[n] = f"{point['memory'] / 2**20:.3g} MiB, {1e3 * point['seconds']:.3g} ms{error}"
    index = pd.MultiIndex.from_tuples(list(rows), names=["network", "grad"])
    return pd.DataFrame(list(rows.values()), dtype=object).fillna(MISSING).set_axis(index)


def success_table(reached: pd.DataFrame) -> pd.DataFrame:
    """A row for each goal, number of steps, method and budget."""
    rows, index = [], []
    for point in reached.to_dict("records"):
        goal, source = str(point["goal"]), str(point["grad"]).startswith("source")
        index.append((goal, f"{point['N']:.0f}", str(point["grad"])))
        what = "gradients" if source else "strength"
        row = {"setting": f"{point['setting']:g} {what}"}
        if point["status"] == "ok":
            shown = METRICS[goal][1].format
            low, high = shown(point["low"]), shown(point["high"])
            row["reached"] = f"{shown(point['value'])} [{low}, {high}]"
            row["loss"], row["evaluations"] = f"{point['loss']:.3g}", f"{point['evaluations']:,.0f}"
        else:
            row["reached"] = str(point["status"])
        rows.append(row)
    names = ["goal", "N", "method"]
    table = pd.DataFrame(rows, dtype=object).fillna(MISSING)
    return table.set_axis(pd.MultiIndex.from_tuples(index, names=names))


def verdicts(reached: pd.DataFrame) -> list[str]:
    """What the exact gradient reaches more than the others, sample by sample, goal by goal."""
    told = []
    good = where(reached, reached["status"] == "ok")
    for goal, n in dict.fromkeys(zip(good["goal"], good["N"], strict=True)):
        own = where(good, (good["goal"] == goal) & (good["N"] == n))
        # The last one of a method is that of its largest budget.
        last = own.drop_duplicates("grad", keep="last").set_index("grad")["values"]
        parts = [
            f"{one} less {other} {mean_with_interval(np.subtract(last[one], last[other]).tolist())}"
            for one, other in PAIRS
            if one in last and other in last
        ]
        told.append(f"{goal}, N = {n:.0f}, on the same noise, largest budgets: {'; '.join(parts)}.")
    return told


PAIRS = (
    ("source, exact", "source, continuous adjoint"),
    ("step n=4, exact", "step n=4, continuous adjoint"),
    ("step n=4, exact", "step n=0, one-step estimate"),
    ("source, exact", "step n=0, one-step estimate"),
)
"""Methods of `guidance_points.methods` that are compared."""


def cost_figure(costs: pd.DataFrame) -> Figure:
    """Memory and time over N, a row of panels for each network."""
    good = where(costs, costs["status"] == "ok")
    nets = list(dict.fromkeys(map(str, costs["net"])))
    titles = [(net, *what) for net in nets for what in QUANTITIES]
    figure, axes = panel_grid([f"{net} {name}" for net, name, _, _ in titles], height=2.3)
    grads = list(dict.fromkeys(map(str, good["grad"])))
    styles = styles_of(grads)
    for ax, (net, name, label, scale) in zip(axes, titles, strict=True):
        own_net = where(good, good["net"] == net)
        for grad in grads:
            own = where(own_net, own_net["grad"] == grad)
            draw_points(
                ax, own["N"].to_numpy(), scale * own[name].to_numpy(), None, styles[grad], grad
            )
        log_if_wide(ax, "x", own_net["N"])
        log_if_wide(ax, "y", scale * own_net[name])
        dress(ax, "steps N", label, net)
    legend_above(figure, axes)
    return figure


QUANTITIES = (
    ("memory", "peak memory per sample (MiB)", 2.0**-20),
    ("seconds", "time per sample (ms)", 1e3),
)


def success_figure(reached: pd.DataFrame) -> Figure:
    """What was reached over the evaluations, a panel for each goal and number of steps."""
    good = where(reached, reached["status"] == "ok")
    panels = list(dict.fromkeys(zip(reached["goal"], reached["N"], strict=True)))
    figure, axes = panel_grid([f"{goal} {n}" for goal, n in panels], height=2.4)
    for ax, (goal, n) in zip(axes, panels, strict=True):
        mine = where(good, (good["goal"] == goal) & (good["N"] == n))
        for name, style in STEPPED.items():
            own = where(mine, mine["grad"] == name).sort_values("evaluations")
            x, y, low, high = (
                own[key].to_numpy() for key in ("evaluations", "value", "low", "high")
            )
            bars = np.nan_to_num(np.stack([y - low, high - y])).clip(0)
            draw_points(ax, x, y, bars, style, name)
        log_if_wide(ax, "x", mine["evaluations"])
        dress(ax, "evaluations of the network", METRICS[str(goal)][0], f"{goal}, N = {n:.0f}")
    legend_above(figure, axes, list(STEPPED))
    return figure


EXPERIMENT = AtOnce(
    name="guidance",
    purpose="The cost of gradients through a sampler, and what their exactness buys.",
    presets={name: partial(measured, plan) for name, plan in PLANS.items()},
    seconds={"cpu": SECONDS},
    report=report,
    notes=notes,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
