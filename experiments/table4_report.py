"""What Table 4's records say: errors beside baselines, differences, verdicts, whole trainings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from harness import Drawn, Results, Sheet
from harness.paired import differences, interval, mean_with_interval
from symadj.figures.panels import panel_grid
from symadj.figures.physics import BASELINES, errors_over_time
from symadj.figures.style import dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.frontier import frontier
from symadj.report.names import MISSING, ordered
from symadj.report.tables import pivot

REFERENCE = "backprop"
SYSTEMS = {"kdv": "KdV", "cahn_hilliard": "Cahn-Hilliard"}
ERRORS = {
    "derivative_mse": "derivative MSE",
    "state_mse": "roll-out: state MSE",
    "energy_mse": "roll-out: energy MSE",
}
# Of the energy-based network with dopri5, 15 trials: Matsubara, Ishikawa, Yaguchi (2020),
# arXiv:1905.08604. What is called mass there is the state u at every point.
PUBLISHED = {
    "KdV": {"derivative_mse": 2.33e-2, "state_mse": 3.35e-4, "energy_mse": 3.01e-3},
    "Cahn-Hilliard": {"derivative_mse": 3.30e1, "state_mse": 7.95e-4, "energy_mse": 4.89e-6},
}
NEEDED = 10.0
"""How many times less the state MSE of a result is than that of persistence."""
MARGIN = 1.25
"""Methods are as good as each other where their state MSEs are within this factor."""
NO_RESULT = "no result"
SMALLEST = 1e-3
"""Percent below which differences are drawn to a linear scale."""
FULL_NOTE = (
    "Ours: width 200, batch 200, Adam at 1e-3, float64, seed 0, the last weights, "
    "grad=symplectic_stages; KdV with one step of dopri5 per interval, Cahn-Hilliard with adaptive "
    "dopri5 at rtol 1e-4, atol 1e-6. `symadj-eval results/kdv_training` and `symadj-eval "
    "results/cahn_hilliard_training` score the weights again. Published: arXiv:1905.08604, whose "
    "score of the mass is that of the state u at every point."
)


def report(results: Results) -> Drawn:
    """Errors beside the baselines, memory and time, the whole trainings; figures of each."""
    runs = results.runs
    trained, measured = (where(runs, runs["part"] == part) for part in ("train", "bench"))
    sheets, figures = [], {}
    if len(trained):
        trained = scored(trained)
        title = "Errors of the last weights beside the baselines, mean over seeds [95 % interval]"
        notes = [verdict(trained, measured, label) for label in data_of(trained)]
        table = errors_table(trained)
        sheets.append(Sheet("table4", table, title, [*notes, COLUMNS], mark_best=False))
        if (trained["grad"] == REFERENCE).any():
            figures["differences"] = differences_figure(trained)
    if len(measured):
        title = "Peak memory and time of a training step"
        table = pivot(measured, ["grad"], ["data"], ["memory", "time"], counts=False)
        sheets.append(Sheet("costs", table, title))
        figures["costs"] = frontier(measured)
    full = where(runs, runs["part"] == "full")
    if len(full):
        sheets.append(full_sheet(full))
    for system, label in SYSTEMS.items():
        if tables := rollouts(results, label):
            figures[system] = errors_over_time(tables, title=label)
    return Drawn(sheets, figures)


def data_of(runs: pd.DataFrame) -> list[str]:
    """The systems that runs are of, in the order of the tables."""
    return [label for label in SYSTEMS.values() if (runs["data.name"] == label).any()]


def scored(runs: pd.DataFrame) -> pd.DataFrame:
    """Runs with "state", "still" and "linear", the state MSE of the model, of persistence and of
    the linear model; "share", the first over the second; "log_state"; "beats", whether the run went
    well and its state MSE is below both baselines'; "failed" and "rollouts", the roll-outs that did
    not get to the end and all."""
    good = runs["status"] == "ok"
    state = numbers(column(runs, "metrics.test/state_mse")).where(good)
    still, linear = (
        numbers(column(runs, f"metrics.test/state_mse_{name}")).where(good)
        for name in ("persistence", "linear")
    )
    count = numbers(column(runs, "data.test"))
    asked = numbers(column(runs, "config.task.rollouts"))
    return runs.assign(
        state=state,
        still=still,
        linear=linear,
        share=state / still,
        log_state=np.log10(state),
        beats=(state < still) & (state < linear),
        failed=numbers(column(runs, "metrics.test/rollout_failed")).where(good),
        rollouts=count.where(~(asked < count), asked).where(good),
    )


CELLS = [
    *("state MSE", "of persistence", "against backprop", "derivative MSE", "energy MSE"),
    *("failed roll-outs", "steps"),
]
COLUMNS = (
    "State MSE: over 500 snapshots, 10 test trajectories and 50 points; a roll-out that fails "
    "counts as a state that stays, from where it ends. Against backprop: the geometric mean over "
    f"seeds of the quotient at the same seed, less 1. A method is shown as {NO_RESULT} where a "
    "training has failed or does not beat persistence and the linear model. Linear model: "
    "u_{n+1} - u_n = A u_n + b, least squares. True field: the equation itself by the trainings' "
    "solver. Steps: accepted ones per iteration; for the adjoint method those of the backward pass "
    "too."
)


def errors_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Rows (system, baseline or method) of texts; runs as `scored` gives them."""
    rows = {}
    for label in data_of(runs):
        here = where(runs, runs["data.name"] == label)
        for name, (title, _) in BASELINES.items():
            rows[label, title] = _baseline_row(here, name)
        logs = differences(here, "log_state", REFERENCE)
        for (grad,) in ordered({(str(grad),) for grad in here["grad"]}):
            rows[label, grad] = _method_row(where(here, here["grad"] == grad), logs.get(grad))
    table = pd.DataFrame(rows, dtype=object).T.reindex(columns=CELLS).astype(object).fillna(MISSING)
    table.index = table.index.set_names(["data", "method"])
    return table


def _baseline_row(runs: pd.DataFrame, name: str) -> dict[str, str]:
    """Of the runs' medians: they differ by the solver's settings alone, if at all."""
    state = float(numbers(column(runs, f"metrics.test/state_mse_{name}")).median())
    failed = float(numbers(column(runs, f"metrics.test/rollout_failed_{name}")).median())
    each = float(runs["rollouts"].median())
    row = {
        "state MSE": _figure(state),
        "of persistence": _figure(state / float(runs["still"].median())),
    }
    return row if np.isnan(failed) else row | {"failed roll-outs": f"{failed:.0f} of {each:.0f}"}


def _method_row(runs: pd.DataFrame, logs: pd.Series | None) -> dict[str, str]:
    row = {
        "state MSE": mean_with_interval(list(runs["state"])),
        "of persistence": mean_with_interval(list(runs["share"])),
        "against backprop": MISSING if logs is None else _apart(logs),
        "derivative MSE": mean_with_interval(list(_metric(runs, "derivative_mse"))),
        "energy MSE": mean_with_interval(list(_metric(runs, "energy_mse"))),
        "failed roll-outs": f"{runs['failed'].sum():.0f} of {runs['rollouts'].sum():.0f}",
        "steps": _figure(
            float((numbers(column(runs, "steps.accepted")) / runs["iterations"]).mean())
        ),
    }
    if bool(runs["beats"].all()):
        return row
    beaten = f"{int(runs['beats'].sum())} of {len(runs)} beat both baselines: {NO_RESULT}"
    kept = {"failed roll-outs": row["failed roll-outs"], "steps": row["steps"]}
    return {"of persistence": f"{row['of persistence']} ({beaten})", **kept}


def _metric(runs: pd.DataFrame, name: str) -> pd.Series:
    return numbers(column(runs, f"metrics.test/{name}")).where(runs["status"] == "ok")


def _figure(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else MISSING


def _apart(logs: Sequence[float] | pd.Series) -> str:
    """The mean of logarithms to base 10 as "by so many percent [interval]"."""
    kept = [float(v) for v in logs if np.isfinite(v)]
    if not kept:
        return MISSING
    mean, low, high = (100 * (10**v - 1) for v in (float(np.mean(kept)), *interval(kept)))
    return f"{mean:.2g} %" if np.isnan(low) else f"{mean:.2g} % [{low:.2g}, {high:.2g}]"


def verdict(trained: pd.DataFrame, measured: pd.DataFrame, label: str) -> str:
    """What the records say of the claim on one system: symplectic as good as backprop, at the least
    memory.

    "Confirmed" where all trainings beat persistence by `NEEDED` and the linear model, the interval
    of symplectic's difference to backprop at the same seed lies within a factor of `MARGIN`, and
    symplectic needs the least memory; "refuted" where the interval lies outside of it, or another
    method needs less memory; else "too small to say".
    """
    here = where(trained, trained["data.name"] == label)
    sound, predicted = _predictions(here)
    alike, compared = _comparison(here)
    lean, memory = _memory(where(measured, measured["data.name"] == label))
    parts = [part for part in (predicted, compared, memory) if part]
    if False in (alike, lean):
        word = "refuted"
    elif sound and alike and lean:
        word = "confirmed"
    else:
        word = "too small to say"
    return f"{label}: {word}. {'; '.join(parts)}."


def _predictions(runs: pd.DataFrame) -> tuple[bool, str]:
    shares, against = runs["share"], float((runs["linear"] / runs["still"]).median())
    failed, all_of_them = runs["failed"].sum(), runs["rollouts"].sum()
    told = (
        f"{int(runs['beats'].sum())} of {len(runs)} trainings predict better than a state that "
        f"stays and than the linear model ({_figure(against)} of the former's state MSE); theirs "
        f"is {_figure(shares.min())} to {_figure(shares.max())} of it; "
        f"{failed:.0f} of {all_of_them:.0f} roll-outs failed"
    )
    return bool(runs["beats"].all() and shares.max() <= 1 / NEEDED), told


def _comparison(runs: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether symplectic is as good as backprop; None: the interval does not tell."""
    logs = differences(runs, "log_state", REFERENCE).drop(columns=REFERENCE, errors="ignore")
    means = logs.mean().dropna()
    if "symplectic" not in means:
        return None, ""
    low, high = interval(list(logs["symplectic"]))
    edge = np.log10(MARGIN)
    worst = str(means.abs().idxmax())
    own = where(runs, runs["grad"] == REFERENCE)["log_state"]
    most = "" if worst == "symplectic" else f", {worst}'s most, by {_apart(logs[worst])}"
    told = (
        f"against {REFERENCE} at the same seed symplectic's state MSE differs by "
        f"{_apart(logs['symplectic'])}{most}; from seed to seed {REFERENCE}'s own differs by a "
        f"factor of up to {_figure(10 ** float(own.max() - own.min()))}"
    )
    if low > edge or high < -edge:
        return False, told
    return (True if -edge <= low <= high <= edge else None), told


def _memory(runs: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether symplectic needs less memory than all other methods; None: not measured."""
    good = where(runs, runs["status"] == "ok")
    memory, time = (
        numbers(column(good, name)).groupby(good["grad"]).median().dropna()
        for name in ("memory.peak_bytes", "seconds.iteration.median")
    )
    others = [n for (n,) in ordered({(str(n),) for n in memory.index}) if "symplectic" not in n]
    if not others or "symplectic" not in memory:
        return None, ""
    of = ", ".join(f"{memory['symplectic'] / memory[n]:.2g} of {n}'s" for n in others)
    as_long = ", ".join(f"{time['symplectic'] / time[n]:.2f} of {n}'s" for n in others)
    told = f"symplectic's memory is {of}; its time {as_long}"
    return bool((memory["symplectic"] < memory[others]).all()), told


def differences_figure(runs: pd.DataFrame) -> Figure:
    """The state MSE of every training over backprop's at the same seed, a panel per system.

    Beside them backprop's own over their geometric mean: what the seed makes.
    """
    labels = data_of(runs)
    figure, axes = panel_grid(labels, height=2.9)
    for ax, label in zip(axes, labels, strict=True):
        here = where(runs, runs["data.name"] == label)
        own = where(here, here["grad"] == REFERENCE)["log_state"]
        logs = differences(here, "log_state", REFERENCE).drop(columns=REFERENCE, errors="ignore")
        points = {"seed to seed": own - own.mean()}
        points |= {name: logs[name] for (name,) in ordered({(str(n),) for n in logs})}
        styles = styles_of(points)
        for place, (name, values) in enumerate(points.items()):
            percent = 100 * (10.0 ** values.to_numpy(float) - 1)
            spread = 0.08 * (np.arange(len(percent)) - (len(percent) - 1) / 2)
            style = styles[name] if place else styles_of([REFERENCE])[REFERENCE]
            ax.plot(place + spread, percent, style.marker, color=style.color, markersize=4)
        ax.axhline(0, color="#7F7F7F", linewidth=0.8)
        ax.set_yscale("symlog", linthresh=SMALLEST)
        ax.margins(y=0.12)
        ax.set_xticks(range(len(points)), list(points), rotation=35, ha="right")
        dress(ax, "", "state MSE against backprop's,\nsame seed [%]", label)
    return figure


def full_sheet(runs: pd.DataFrame) -> Sheet:
    """The scores of the whole trainings beside the published ones and the baselines."""
    rows = {}
    for label in data_of(runs):
        run = where(runs, runs["data.name"] == label).iloc[-1]
        name = f"symadj, {int(run['iterations']):,} iterations, seed {run['seed']}"
        failed = f"{run.get('metrics.test/rollout_failed', np.nan):.0f} of {run['data.test']:.0f}"
        rows[label, name] = {
            **{title: _figure(run.get(f"metrics.test/{k}", np.nan)) for k, title in ERRORS.items()},
            "failed roll-outs": failed,
        }
        rows[label, "published (HNN++, dopri5), 15 trials"] = {
            title: _figure(PUBLISHED[label][key]) for key, title in ERRORS.items()
        }
        for key, (title, _) in BASELINES.items():
            state = run.get(f"metrics.test/state_mse_{key}", np.nan)
            rows[label, title] = {ERRORS["state_mse"]: _figure(state)}
    table = pd.DataFrame(rows, dtype=object).T.fillna(MISSING)
    table.index = table.index.set_names(["data", "weights"])
    return Sheet("full", table, "The whole published training", [FULL_NOTE], mark_best=False)


def rollouts(results: Results, data: str) -> dict[str, list[pd.DataFrame]]:
    """The errors over time of symplectic's trainings on a system: how the others differ from them,
    `differences_figure` shows."""
    tables = [
        table
        for labels, table in results.tables
        if (labels["part"], labels["data"], labels.get("grad")) == ("train", data, "symplectic")
    ]
    return {"symplectic": tables} if tables else {}
