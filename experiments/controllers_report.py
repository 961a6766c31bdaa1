"""Curves of evaluations over the error, compared at equal error; their tables and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from sklearn.isotonic import IsotonicRegression

from controllers_problems import CLASSICAL, TITLES
from controllers_solves import CONTROLLERS, DEFAULT, DIFFRAX, KNOWN
from harness.results import Sheet
from symadj.figures.panels import legend_above, panel_grid
from symadj.figures.style import PAGE_WIDTH, SMALL_FONT_SIZE, Style, dress, new_figure, styles_of
from symadj.report.frames import where
from symadj.report.names import MISSING

ROWS = (*(name for name in CONTROLLERS if name != DEFAULT), "torchdiffeq", *DIFFRAX)
ERRORS = {"error": "at the end", "error_outputs": "at the worst output"}
DRAWN: Mapping[str, Style] = {
    DEFAULT: Style("#C03A00", "o", "", (0, None)),
    "PI 0.04": Style("#E69F00", "^", "", (0, (5, 1.5))),
    "PI 0.08": Style("#0072B2", "v", "", (0, (1.2, 1.2))),
    "torchdiffeq": Style("#882255", "P", "", (0, (7, 2))),
    "diffrax I": Style("#1A1A1A", "h", "", (0, (6, 1.5, 1, 1.5))),
    "diffrax PI": Style("#56B4E9", "X", "", (0, (3, 1, 1, 1))),
}
DIGITS = 1
TICKS = (-30, -20, -10, 0, 10, 20, 50, 100, 200, 400)


def log_ratios(base: pd.DataFrame, other: pd.DataFrame, error: str = "error") -> np.ndarray:
    """log of evaluations of `other` over those of `base`, at 50 errors that both reach.

    Of each curve the non-increasing one that is nearest in log N is taken, joined by straight lines
    in log N over log error. Nothing where the ranges do not meet.

    Args:
        base: columns "evaluations" and of the error, a row for each tolerance.
        other: likewise.
        error: the column.
    """
    curves = [_curve(frame, error) for frame in (base, other)]
    low = max(float(x[0]) for x, _ in curves)
    high = min(float(x[-1]) for x, _ in curves)
    if low >= high:
        return np.zeros(0)
    at = np.linspace(low, high, 50)
    of_base, of_other = (np.interp(at, x, y) for x, y in curves)
    return of_other - of_base


def _curve(frame: pd.DataFrame, error: str) -> tuple[np.ndarray, np.ndarray]:
    """log error, rising, and log evaluations, falling."""
    points = frame.sort_values(error)
    x = np.log(np.asarray(points[error], dtype=float))
    y = np.log(np.asarray(points["evaluations"], dtype=float))
    return x, np.asarray(IsotonicRegression(increasing=False).fit_transform(x, y))


def _groups(points: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(solver, problem, what was measured of both)."""
    for problem in points["problem"].unique():
        for solver in points["solver"].unique():
            mask = (points["solver"] == solver) & (points["problem"] == problem)
            yield str(solver), str(problem), where(points, mask)


def compare(points: pd.DataFrame, error: str = "error") -> pd.DataFrame:
    """For each solver, problem and row: the mean and the standard deviation of `log_ratios`."""
    found = []
    for solver, problem, own in _groups(points):
        base = where(own, own["row"] == DEFAULT)
        for row in ROWS:
            other = where(own, own["row"] == row)
            ratios = log_ratios(base, other, error) if len(other) else np.zeros(0)
            if len(ratios):
                spread = {"mean": float(ratios.mean()), "std": float(ratios.std())}
                found.append({"solver": solver, "problem": problem, "row": row, **spread})
    return pd.DataFrame(found)


def sheets(points: pd.DataFrame) -> list[Sheet]:
    """A table over all, one of each problem and solver, one of first steps."""
    compared = compare(points)
    how = (
        "Evaluations of the field in the forward solve (rejected steps and the first step's rule "
        "included) at equal error, relative to the default of symadj, in percent; less than 0 is "
        "fewer. Curves of log evaluations over log error are compared over the errors that both "
        "reach. Default: pi_beta=0, safety=0.9; PI x/q: pi_beta is x over the order q of the error "
        f"estimate; {KNOWN}: first_step is safety times the longest one that is accepted. "
        "torchdiffeq solves by dopri8 what stands under dop853."
    )
    mean = "The geometric mean over problems (least ... most of a problem)."
    each = "At the end: the geometric mean over the errors ± one standard deviation over them."
    return [
        Sheet("overall", overall(points), "Over all", [how, mean], mark_best=False),
        Sheet("problems", by_problem(compared), "Each problem", [how, each], mark_best=False),
        Sheet("first_step", first_steps(points), "The first step's rule", mark_best=False),
    ]


def overall(points: pd.DataFrame) -> pd.DataFrame:
    """Means over the problems of each solver, over the networks, the classical ones and all."""
    rows = {}
    for error, words in ERRORS.items():
        compared = compare(points, error)
        for row in ROWS:
            own = where(compared, compared["row"] == row)
            classical = own["problem"].isin(list(CLASSICAL))
            groups = {s: where(own, own["solver"] == s) for s in points["solver"].unique()}
            groups |= {"networks": where(own, ~classical), "classical": where(own, classical)}
            cells = {name: _range(group) for name, group in (groups | {"all": own}).items()}
            rows[row, words] = cells
    table = pd.DataFrame(rows).T
    table.index.names = ["controller", "error"]
    return table


def _range(group: pd.DataFrame) -> str:
    if group.empty:
        return MISSING
    of_problems = [float(own["mean"].mean()) for _, own in group.groupby("problem")]
    ends = f"{_percent(min(of_problems))} ... {_percent(max(of_problems))}"
    return f"{_percent(float(np.mean(of_problems)))} ({ends})"


def _percent(log_ratio: float) -> str:
    return f"{100 * (np.exp(log_ratio) - 1):+.{DIGITS}f}"


def by_problem(compared: pd.DataFrame) -> pd.DataFrame:
    """A row for each problem and solver, a column for each controller."""
    told = compared.assign(
        cell=[
            f"{_percent(mean)} ± {100 * std:.{DIGITS}f}"
            for mean, std in zip(compared["mean"], compared["std"], strict=True)
        ]
    )
    table = told.pivot(index=["problem", "solver"], columns="row", values="cell")
    order = compared[["problem", "solver"]].drop_duplicates().apply(tuple, axis=1)
    names = [row for row in ROWS if row in table]
    table = table.reindex(pd.MultiIndex.from_tuples(order)).loc[:, names].fillna(MISSING)
    table.index.names = ["problem", "solver"]
    return table


def first_steps(points: pd.DataFrame) -> pd.DataFrame:
    """How the rule's first step compares with the known one, and what knowing it saves.

    Of first steps the geometric mean over tolerances and the least, of evaluations the mean and the
    mean difference at the same tolerance.
    """
    rows = {}
    for solver, problem, own in _groups(points):
        rule, known = (
            where(own, own["row"] == name).set_index("tolerance") for name in (DEFAULT, KNOWN)
        )
        ratio = rule["first_step"] / known["first_step"]
        attempts = (rule["accepted"] + rule["rejected"]).sum()
        rows[problem, solver] = {
            "rule / known step": f"{np.exp(np.log(ratio).mean()):.2f}",
            "at least": f"{ratio.min():.2f}",
            "evaluations": f"{rule['evaluations'].mean():.0f}",
            "fewer where known": f"{(rule['evaluations'] - known['evaluations']).mean():.1f}",
            "rejected steps (%)": f"{100 * rule['rejected'].sum() / attempts:.1f}",
        }
    table = pd.DataFrame(rows).T
    table.index.names = ["problem", "solver"]
    return table


def work_precision(points: pd.DataFrame, solver: str = "dopri5") -> Figure:
    """Evaluations over the error at the end, a panel for each problem."""
    own = where(points, points["solver"] == solver)
    names = [name for name in TITLES if (own["problem"] == name).any()]
    figure = new_figure(PAGE_WIDTH, 2.0 * -(-len(names) // 3))
    axes = list(figure.subplots(-(-len(names) // 3), 3, squeeze=False).flat)
    for ax, name in zip(axes, names, strict=False):
        for row, style in DRAWN.items():
            line = where(own, (own["problem"] == name) & (own["row"] == row))
            line = line.sort_values("tolerance")
            ax.plot(
                np.asarray(line["error"]),
                np.asarray(line["evaluations"]),
                color=style.color,
                marker=style.marker,
                linestyle=style.dash,
                markersize=3,
                linewidth=1.0,
                label=_label(row),
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        ax.yaxis.set_minor_formatter(NullFormatter())
        left, below = ax in axes[::3], ax in axes[len(names) - 3 :]
        labels = ("rms error at the end" if below else "", "evaluations" if left else "")
        dress(ax, *labels, TITLES[name])
    for unused in axes[len(names) :]:
        unused.remove()
    legend_above(figure, axes[: len(names)])
    return figure


def _label(row: str) -> str:
    if row == DEFAULT:
        return "symadj I (default)"
    return f"symadj {row}" if row in CONTROLLERS else row


def relative(points: pd.DataFrame) -> Figure:
    """Evaluations at equal error against the default: a panel per solver, a mark per problem.

    The axis is linear from -20 % to 20 % and logarithmic beyond.
    """
    compared = compare(points)
    solvers = list(compared["solver"].unique())
    figure, axes = panel_grid(solvers, height=2.6)
    styles = styles_of(TITLES)
    for ax, solver in zip(axes, solvers, strict=True):
        ax.axhline(0.0, color="#1A1A1A", linewidth=0.8)
        for i, name in enumerate(TITLES):
            own = where(compared, (compared["solver"] == solver) & (compared["problem"] == name))
            at = [ROWS.index(row) + 0.07 * (i - (len(TITLES) - 1) / 2) for row in own["row"]]
            values = 100 * (np.exp(np.asarray(own["mean"], dtype=float)) - 1)
            style = styles[name]
            ax.plot(
                at,
                values,
                color=style.color,
                marker=style.marker,
                linestyle="none",
                markersize=3.5,
                label=TITLES[name],
            )
        ax.set_xlim(-0.5, len(ROWS) - 0.5)
        ax.set_yscale("symlog", linthresh=20)
        ax.set_ylim(min(-12.0, 120 * float(np.expm1(compared["mean"].min()))), 500)
        ax.set_yticks(TICKS, [f"{tick:+d}" if tick else "0" for tick in TICKS])
        dress(ax, "", "evaluations at equal error, against\nthe default (%)", solver)
        ax.set_xticks(range(len(ROWS)), ROWS, rotation=35, ha="right", fontsize=SMALL_FONT_SIZE)
    legend_above(figure, axes)
    return figure
