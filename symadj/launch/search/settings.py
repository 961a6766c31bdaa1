"""The settings of a search, `search=NAME` on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from symadj.config.space import Parameter
from symadj.errors import IncompatibleError, InputError, suggest
from symadj.packages import need
from symadj.ranges import check_settings


@dataclass(frozen=True)
class SearchSettings:
    """How settings are searched for.

    Args:
        sampler: chooses the values of each trial.
        trials: of the whole search, whichever processes and sittings run them; None: all of a grid.
        metric: that is searched by, "val/nll"; None: that of the validations.
        direction: whether the least or the greatest is looked for.
        seed: of the values that are drawn; together with a trial's number it gives its values, so
            that a search in one process is the same one whenever it is cut off.
        study: name of the study, and of its folder below the directory of the runs.
        storage: Optuna's URL of a database; None: a journal file in the study's folder.
        startup: first trials that tpe and gp draw at random.
        pruner: ends trials whose validations are worse than those of others: "median" than the
            median of the trials before at that iteration, "hyperband" by successive halving.
        pruner_trials: so many trials end before the median prunes any.
        pruner_iterations: no trial is pruned before so many iterations; None: before its first
            validation.
        pruner_factor: of so many trials hyperband lets one go on.
    """

    sampler: Literal["tpe", "random", "grid", "cmaes", "gp"]
    trials: int | None = 20
    metric: str | None = None
    direction: Literal["minimize", "maximize"] = "minimize"
    seed: int = 0
    study: str = "search"
    storage: str | None = None
    startup: int = 10
    pruner: Literal["none", "median", "hyperband"] = "none"
    pruner_trials: int = 5
    pruner_iterations: int | None = None
    pruner_factor: int = 3

    def __post_init__(self) -> None:
        check_settings("search", vars(self))
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}", self.study):
            raise InputError(
                f"study={self.study!r} cannot name a study: letters, digits, '.', '_' and '-' are "
                "allowed, the first a letter or digit, at most 121 of them."
            )
        if self.trials is None and self.sampler != "grid":
            raise InputError(f"trials=null is for search=grid; give {self.sampler} a number.")
        need("optuna", "search", "searches")
        if self.sampler == "cmaes":
            need("cmaes", "search", "searches by covariance matrix adaptation")

    def limit(self, space: Sequence[Parameter]) -> int:
        """How many trials the search has.

        Raises:
            IncompatibleError: a sampler that cannot choose from one of the ranges.
        """
        for parameter in space:
            if self.sampler == "cmaes" and parameter.choices:
                raise IncompatibleError(
                    f"{parameter.text} with search=cmaes, which chooses numbers only; take "
                    "search=tpe, or give the setting one value."
                )
            if self.sampler == "grid" and parameter.values() is None:
                raise IncompatibleError(
                    f"{parameter.text} with search=grid: an interval has no end of values; name "
                    "them, A,B,C or range(START,STOP,STEP), or take search=tpe."
                )
        if self.sampler != "grid":
            assert self.trials is not None
            return self.trials
        size = prod(len(parameter.values() or ()) for parameter in space)
        return size if self.trials is None else min(self.trials, size)

    def metric_of(self, monitor: str) -> str:
        """The metric that is searched by.

        Args:
            monitor: name of the task's validation metric.

        Raises:
            InputError: there is none of that name, or it is no basis for a choice.
        """
        validated = f"val/{monitor}"
        if self.metric is None or self.metric == validated:
            return validated
        if self.metric.startswith("test/"):
            raise InputError(
                f"search.metric={self.metric}: what is chosen by the test split is not tested by "
                f"it any more; take search.metric={validated}."
            )
        if self.metric != "train/loss":
            allowed = (validated, "train/loss")
            raise InputError(f"unknown search.metric={self.metric}.{suggest(self.metric, allowed)}")
        if self.pruner != "none":
            raise IncompatibleError(
                f"search.pruner={self.pruner} with search.metric=train/loss: trials are pruned by "
                f"their validations; take search.metric={validated}."
            )
        return self.metric
