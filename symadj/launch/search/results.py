"""What a search leaves: a table of its best trials, the best one's settings, and pictures."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pandas as pd
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState, create_trial

from symadj.errors import StorageError
from symadj.figures.search import search_figures
from symadj.files import subfolder, write_atomically, write_text
from symadj.launch.search.source import Search, shown
from symadj.terminal import complain

BEST = 10
"""Trials in the table, at most."""

_STATES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "not finished",
    TrialState.WAITING: "not begun",
}


def leave(search: Search, experiment: Callable[[Sequence[str], str], str]) -> str:
    """Writes the best trial's settings and the pictures; returns the table of the best trials.

    Args:
        search: whose trials they are.
        experiment: (overrides, comment) -> the text of an experiment file.
    """
    trials = search.trials()
    lines = [_headline(search, trials)]
    if best := _ranked(search, trials):
        lines += _table(search, best[:BEST])
        try:
            lines += _best_file(search, best[0], experiment)
            lines.append(_pictures(search, trials))
        except StorageError as error:
            complain(str(error))
    return "\n".join(lines)


def trial_table(search: Search, trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """The trials that have begun: number, status ("finished", ...), value and their settings.

    The value of a pruned trial is that of its last validation; a failed one has none.
    """
    rows = [
        {
            "number": trial.number,
            "status": _STATES[trial.state],
            "value": math.nan if trial.value is None else trial.value,
            **trial.params,
        }
        for trial in trials
    ]
    keys = [parameter.key for parameter in search.space]
    table = pd.DataFrame(rows, columns=["number", "status", "value", *keys])
    return table.dropna(subset=keys)


def importance(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """The share of each setting in the variance of the trials' ranks, by fANOVA.

    Of the ranks and not of the values, which one diverged trial would decide (Hutter, Hoos,
    Leyton-Brown 2014). A pruned trial ranks by its last validation. Empty where that cannot be
    said: fewer than four trials, or all alike.
    """
    valued = [trial for trial in trials if trial.state.is_finished() and trial.value is not None]
    if len(valued) < 4 or len({trial.value for trial in valued}) < 2:
        return {}
    ranked = optuna.create_study()
    for rank, trial in enumerate(sorted(valued, key=lambda trial: trial.value or 0.0)):
        ranked.add_trial(
            create_trial(params=trial.params, distributions=trial.distributions, value=rank)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_param_importances(ranked, evaluator=FanovaImportanceEvaluator(seed=0))


def _headline(search: Search, trials: Sequence[FrozenTrial]) -> str:
    counts = Counter(_STATES[trial.state] for trial in trials)
    said = ", ".join(f"{number} {state}" for state, number in counts.items()) or "none begun"
    what = "least" if search.settings.direction == "minimize" else "greatest"
    return (
        f"search: {len(trials)} of {search.limit} trials by {search.settings.sampler} for the "
        f"{what} {search.metric}: {said}"
    )


def _ranked(search: Search, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    sign = 1 if search.settings.direction == "minimize" else -1
    finished = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return sorted(finished, key=lambda trial: (sign * (trial.value or 0.0), trial.number))


def _table(search: Search, best: Sequence[FrozenTrial]) -> list[str]:
    keys = [parameter.key for parameter in search.space]
    rows = [["trial", search.metric, *keys, "run"]]
    for trial in best:
        settings = [shown(trial.params[key]) for key in keys]
        run = Path(str(trial.user_attrs.get("directory", ""))).name
        rows.append([str(trial.number), f"{trial.value:.5g}", *settings, run])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _best_file(
    search: Search, trial: FrozenTrial, experiment: Callable[[Sequence[str], str], str]
) -> list[str]:
    comment = f"trial {trial.number} of a search: {search.metric} {trial.value:.5g}"
    text = experiment(search.job(trial).overrides, comment)
    write_text(subfolder(search.folder, "experiment") / "best.yaml", text)
    return [f"the best again: symadj-train --config-dir {search.shown_folder} experiment=best"]


def _pictures(search: Search, trials: Sequence[FrozenTrial]) -> str:
    figures = search_figures(
        trial_table(search, trials),
        search.space,
        search.metric,
        search.settings.direction == "maximize",
        importance(trials),
    )
    for stem, figure in figures.items():
        write_atomically(
            search.folder / f"{stem}.png",
            lambda file, figure=figure: figure.savefig(file, dpi=200, format="png"),
        )
    return f"pictures: {search.shown_folder}/{{{','.join(figures)}}}.png"
