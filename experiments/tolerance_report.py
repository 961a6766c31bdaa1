"""The tables, figures and verdicts of tolerance.py, from its records alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import flows
from harness import Drawn, Results, Sheet
from harness.figures import Panel, method_lines
from harness.paired import differences, interval, mean_with_interval
from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import SMALL_FONT_SIZE, Style, dress, styles_of
from symadj.report.frames import column, numbers, where
from symadj.report.names import MISSING
from symadj.report.tables import pivot

LEAST = 1e-17
OWN, CONVERGED, GAP = "metrics.test/nll", "metrics.test/nll_tighter", "metrics.test/nll_gap"
KEPT = 0.1
"""Nats that a method may lose and still keep its likelihood."""


def report(results: Results) -> Drawn:
    """Errors of gradients; NLLs, paired differences and causes, each with its verdict."""
    runs, sheets, figures = results.runs, [], {}
    errors = where(runs, runs["part"] == "gradient")
    if len(errors):
        sheets.append(errors_sheet(errors))
        figures["errors"] = errors_figure(errors)
    trained = where(runs, runs["part"] == "training")
    if len(trained):
        sheets += [nll_sheet(trained), paired_sheet(trained)]
        causes = where(runs, runs["part"] == "cause")
        if len(causes):
            beside = where(trained, trained["atol"] == causes["atol"].iloc[0])
            causes = pd.DataFrame(pd.concat([beside, causes], ignore_index=True))
            sheets.append(causes_sheet(causes))
        figures["tolerance"] = nll_figure(trained, causes, results.tables)
    return Drawn(sheets, figures)


# Gradients


def errors_sheet(errors: pd.DataFrame) -> Sheet:
    """A row for every tolerance and method."""
    names = ["gradient_error", "gradient_error_converged", "time", "evaluations"]
    table = pivot(errors, ["atol", "grad"], [], names, counts=False)
    note = (
        "gradient_error: against the exact gradient of the method's own discrete solution. "
        "gradient_error_converged: against the gradient of dop853 at rtol = atol = 1e-10, so that "
        "the discretisation's error is in it too. In the figure an error of 0 stands as 1e-17."
    )
    return Sheet("errors", table, "Errors of gradients (relative)", [note], mark_best=False)


def errors_figure(errors: pd.DataFrame) -> Figure:
    """Both errors and the time against the tolerance."""
    own = numbers(column(errors, "metrics.gradient_error")).replace(0.0, LEAST)
    panels = [
        Panel("gradient_error", "error: own discrete solution"),
        Panel("gradient_error_converged", "error: converged solution"),
        Panel("time", "time (s/iteration)"),
    ]
    shown = errors.assign(**{"metrics.gradient_error": own})
    return method_lines(shown, "atol", "atol", panels)


# Likelihoods


def of(runs: pd.DataFrame, name: str, **labels: object) -> list[float]:
    """The values of a metric in the runs with these labels that ended well, by seed."""
    chosen = where(runs, runs["status"] == "ok")
    for label, value in labels.items():
        chosen = where(chosen, chosen[label] == value)
    return [float(v) for v in numbers(column(chosen.sort_values("seed"), name))]


def nll_sheet(runs: pd.DataFrame) -> Sheet:
    """A row for every tolerance and method, and one for each baseline."""
    rows = {
        (f"{atol:g}", grad): nll_row(where(runs, runs["atol"] == atol), grad)
        for atol in sorted(set(runs["atol"]))
        for grad in flows.grads_of(runs)
    }
    for name, value in flows.baseline_values(runs).items():
        exact = {"NLL, converged": f"{value:.3f}"}
        rows[(MISSING, flows.BASELINES[name])] = {**dict.fromkeys(NLLS, MISSING), **exact}
    return Sheet(
        "nll",
        framed(rows, ("atol", "grad")),
        "NLL (nats, mean [95 % interval] over seeds) of flows trained at a tolerance",
        ["gap: the NLL at the training tolerance less the converged one."],
        mark_best=False,
    )


NLLS = {"NLL, training tolerance": OWN, "NLL, converged": CONVERGED, "gap": GAP}


def nll_row(runs: pd.DataFrame, grad: str) -> dict[str, str]:
    """The three figures of a method, and of how many seeds they are."""
    row = {title: mean_with_interval(of(runs, name, grad=grad)) for title, name in NLLS.items()}
    return {**row, "seeds": str(len(of(runs, OWN, grad=grad)))}


def framed(rows: Mapping[tuple[str, ...], Mapping[str, str]], names: Sequence[str]) -> pd.DataFrame:
    """Rows of texts as a table."""
    index = pd.MultiIndex.from_tuples(list(rows), names=list(names))
    table = pd.DataFrame(list(rows.values()), dtype=object)
    return table.fillna(MISSING).set_axis(index)


def paired(runs: pd.DataFrame, one: str, other: str) -> dict[float, list[float]]:
    """By atol, the converged NLL of one method less that of another one, at the same seeds."""
    found = differences(runs, CONVERGED, other, pairs=("atol", "seed"))
    if one not in found:
        return {}
    return {
        float(str(atol)): [float(v) for v in part[one].dropna()]
        for atol, part in found.groupby(level="atol")
    }


def paired_sheet(runs: pd.DataFrame) -> Sheet:
    """The differences that the claim is about, and what they say of it."""
    titles = {
        ("symplectic", "adjoint"): "symplectic less adjoint",
        ("symplectic", "adjoint_full"): "symplectic less adjoint_full",
        ("symplectic", "backprop"): "symplectic less backprop",
        ("adjoint_full", "adjoint"): "adjoint_full less adjoint",
    }
    columns = {title: paired(runs, *pair) for pair, title in titles.items()}
    rows = {
        (f"{atol:g}",): {t: mean_with_interval(c.get(atol, [])) for t, c in columns.items()}
        for atol in sorted(set(runs["atol"]))
    }
    title = "Paired differences of the converged NLL (nats, mean [95 % interval] over seeds)"
    return Sheet("paired", framed(rows, ("atol",)), title, verdict(runs), mark_best=False)


def verdict(runs: pd.DataFrame) -> list[str]:
    """Whether the adjoint method loses likelihood at loose tolerances and exact ones keep it."""
    compared = {a: d for a, d in paired(runs, "symplectic", "adjoint").items() if len(d) > 1}
    if not compared:
        return ["Too few seeds to say anything of the claim."]
    sides = {atol: interval(values) for atol, values in compared.items()}
    for_it = [atol for atol, (_, high) in sides.items() if high < 0]
    against = [atol for atol, (low, _) in sides.items() if low > 0]
    open_ = [atol for atol in sides if atol not in (*for_it, *against)]
    parts = [
        f"{words} at atol {_listed(atols)}"
        for words, atols in (
            ("symplectic reaches the lower converged NLL", for_it),
            ("the adjoint method reaches the lower one", against),
            ("the interval of the difference includes 0", open_),
        )
        if atols
    ]
    loss = {grad: losses(runs, grad) for grad in ("symplectic", "adjoint")}
    kept = [
        f"{grad} loses more than {KEPT:g} nats against its own tightest tolerance at atol "
        f"{_listed(lost)}"
        if (lost := [a for a, values in loss[grad].items() if interval(values)[0] > KEPT])
        else f"{grad} loses nowhere more than {KEPT:g} nats against its own tightest tolerance"
        for grad in loss
    ]
    if for_it and not against:
        word = "holds here"
    elif against and not for_it:
        word = "is refuted here: at loose tolerances it is the exact gradient that loses likelihood"
    elif against:
        word = "holds here at some tolerances and is refuted at others"
    else:
        word = "is neither confirmed nor refuted here: the differences are too small to say"
    claim = (
        "The claim that at loose tolerances the adjoint method loses likelihood and the exact "
        f"methods keep theirs {word}."
    )
    return [claim, f"At the same seed: {'; '.join(parts)}. And {'; '.join(kept)}."]


def losses(runs: pd.DataFrame, grad: str) -> dict[float, list[float]]:
    """By atol, a method's converged NLL less that at its tightest tolerance, at the same seeds."""
    own = where(runs, (runs["grad"] == grad) & (runs["status"] == "ok"))
    table = own.assign(_value=numbers(own[CONVERGED])).pivot(
        index="seed", columns="atol", values="_value"
    )
    lost = table.sub(table[min(table)], axis=0) if len(table) else table
    return {float(str(atol)): [float(v) for v in lost[atol].dropna()] for atol in lost}


def _listed(atols: Sequence[float]) -> str:
    return ", ".join(f"{atol:g}" for atol in sorted(atols))


# Causes


def causes_sheet(runs: pd.DataFrame) -> Sheet:
    """The cells at the loose tolerance, and what they say of the cause."""
    less = differences(runs, CONVERGED, "adjoint")
    rows = {}
    for grad in flows.grads_of(runs):
        more = mean_with_interval(list(less[grad].dropna()) if grad in less else [])
        rows[(grad,)] = {**nll_row(runs, grad), "converged less adjoint's": more}
    title = f"NLL (nats, mean [95 % interval] over seeds) at atol {_listed([runs['atol'].iloc[0]])}"
    return Sheet("causes", framed(rows, ("grad",)), title, cause(runs), mark_best=False)


def cause(runs: pd.DataFrame) -> list[str]:
    """Whether it is the gradient, the step control or the error of the backward solve."""

    def less(one: str, other: str) -> list[float]:
        found = differences(runs, CONVERGED, other)
        return list(found[one].dropna()) if one in found else []

    adaptive, fixed = less("symplectic", "adjoint"), less("symplectic_fixed", "adjoint_fixed")
    tight = less("adjoint_tight", "adjoint")
    if min(map(len, (adaptive, fixed, tight))) < 2:
        return ["Too few seeds to say anything of the cause."]
    told = [
        f"Symplectic less adjoint is {mean_with_interval(adaptive)} nats with adaptive steps and "
        f"{mean_with_interval(fixed)} with fixed ones: {_of_steps(interval(adaptive)[0], fixed)}",
        "A tight backward solve changes the adjoint method's converged NLL by "
        f"{mean_with_interval(tight)} nats: {_of_backward(interval(tight))}",
    ]
    gaps = {grad: mean_with_interval(of(runs, GAP, grad=grad)) for grad in flows.grads_of(runs)}
    listed = "; ".join(f"{grad} {value}" for grad, value in gaps.items())
    return [*told, f"NLL at the training tolerance less the converged one: {listed} nats."]


def _of_steps(low: float, fixed: Sequence[float]) -> str:
    below, above = interval(fixed)
    if low > 0 and below > 0:
        return (
            "the exact gradient of a coarse solver trains the solver's error whether its steps "
            "adapt or not; it is the gradient, not the step control."
        )
    if low > 0:
        return (
            "it vanishes with fixed steps, so it is the step control that the exact gradient works "
            "on."
            if above >= 0
            else "with fixed steps it is the other way round, so it hangs on the step control."
        )
    if below > 0:
        return "the exact gradient trains the solver's error with fixed steps alone."
    return "the exact gradient has no disadvantage here."


def _of_backward(sides: tuple[float, float]) -> str:
    low, high = sides
    if high < 0:
        return "its backward solve's own error costs likelihood."
    if low > 0:
        return "the error of its backward solve does it good."
    return "the error of its backward solve makes no difference that can be told from the seeds'."


# Figure


ABOVE = "above"


def above_reference(runs: pd.DataFrame) -> tuple[pd.Series, float]:
    """Converged NLLs less backprop's at the tightest tolerance and same seed; and its mean."""
    tightest = (runs["grad"] == "backprop") & (runs["atol"] == min(runs["atol"]))
    chosen = where(runs, tightest & (runs["status"] == "ok"))
    reference = pd.Series(numbers(column(chosen, CONVERGED)).to_numpy(), index=chosen["seed"])
    above = numbers(column(runs, CONVERGED)) - numbers(runs["seed"].map(reference))
    return above, float(reference.mean())


def nll_figure(
    trained: pd.DataFrame,
    causes: pd.DataFrame,
    tables: Sequence[tuple[Mapping[str, object], pd.DataFrame]],
) -> Figure:
    """NLL and gap against the tolerance, the gap over training, the cells that tell causes apart.

    Lines of methods stand beside each other at every tolerance.
    """
    figure, axes = panel_grid(["loss", "gap", "training", "causes"], height=2.7)
    grads = flows.grads_of(trained)
    styles = styles_of({*grads, *map(str, causes["grad"])})
    above, reference = above_reference(trained)
    trained = trained.assign(**{ABOVE: above})
    atols = sorted(set(trained["atol"]))
    for i, grad in enumerate(grads):
        dodge = 10 ** (0.09 * (i - (len(grads) - 1) / 2))
        for ax, name in ((axes[0], ABOVE), (axes[1], GAP)):
            points = [(atol * dodge, of(trained, name, grad=grad, atol=atol)) for atol in atols]
            flows.draw_intervals(ax, points, styles[grad], grad)
    draw_baselines(axes[0], trained, reference)
    dress(axes[0], "atol", "converged NLL less backprop's\nat the tightest tolerance (nats)")
    dress(axes[1], "atol", "NLL at the training tolerance\nless the converged one (nats)")
    for ax in axes[:2]:
        ax.set_xscale("log")
        ax.set_yscale("symlog", linthresh=0.1)
    loose = causes["atol"].iloc[0] if len(causes) else atols[-1]
    draw_history(axes[2], tables, float(loose), grads, styles)
    draw_causes(axes[3], causes, styles)
    legend_above(figure, axes[:3], grads)
    return figure


def draw_baselines(ax: Axes, runs: pd.DataFrame, zero: float) -> None:
    """Lines at the baselines, with their names."""
    for name, value in flows.baseline_values(runs).items():
        ax.axhline(value - zero, color="0.5", linewidth=0.8, linestyle=":")
        ax.annotate(
            flows.BASELINES[name],
            (0.02, value - zero),
            xycoords=("axes fraction", "data"),
            fontsize=SMALL_FONT_SIZE,
            color="0.35",
            va="bottom",
        )


def draw_history(
    ax: Axes,
    tables: Sequence[tuple[Mapping[str, object], pd.DataFrame]],
    atol: float,
    grads: Sequence[str],
    styles: Mapping[str, Style],
) -> None:
    """The gap in the validations of the runs at one tolerance."""
    for grad in grads:
        own = [
            table[["iteration", "nll_gap"]].dropna()
            for labels, table in tables
            if (labels["part"], labels["grad"], labels["atol"]) == ("training", grad, atol)
            and "nll_gap" in table
        ]
        if own:
            whole = pd.concat(own)
            grouped = whole.groupby("iteration")["nll_gap"]
            points = [(float(str(at)), list(values)) for at, values in grouped]
            flows.draw_intervals(ax, points, styles[grad])
    ax.set_yscale("symlog", linthresh=0.1)
    dress(ax, "iteration", f"the same in validation,\natol {atol:g} (nats)")


def draw_causes(ax: Axes, causes: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """The converged NLL of every cell at the loose tolerance."""
    if causes.empty:
        ax.remove()
        return
    grads = flows.grads_of(causes)
    for i, grad in enumerate(grads):
        values = of(causes, CONVERGED, grad=grad)
        flows.draw_intervals(ax, [(i, values)], styles[grad], joined=False, seeds=True)
    ax.set_xticks(range(len(grads)), grads, rotation=35, ha="right")
    dress(ax, "", f"converged NLL,\natol {_listed([causes['atol'].iloc[0]])} (nats)")
