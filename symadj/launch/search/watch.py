"""A trial's side of a study, in the process that trains it: its validations, and its end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import optuna
from optuna.exceptions import OptunaError
from optuna.trial import Trial

from symadj.errors import SymadjError
from symadj.launch.search.study import ABOUT, open_study, pruner
from symadj.terminal import complain


@dataclass(frozen=True)
class Watch:
    """Is called with the iteration and the metric of each validation of a trial.

    It says whether the pruner gives the trial up. A study that cannot be reached at that moment
    gives up nothing: a training does not fail for it. It is opened in the process that calls.

    Attributes:
        trial: storage, study and number, as a job has it.
    """

    trial: tuple[str, str, int]

    def __call__(self, iteration: int, metric: float) -> bool:
        number = self.trial[2]
        try:
            if not self._study.user_attrs[ABOUT]["search.metric"].startswith("val/"):
                return False
            found = self._study.get_trials(deepcopy=False)[number]
            own = Trial(self._study, found._trial_id)
            # What a run repeats after a kill has been reported before.
            if iteration not in found.intermediate_values:
                own.report(metric, iteration)
            return own.should_prune()
        except (OSError, OptunaError, SymadjError) as error:
            complain(f"trial {number}: its validation could not be reported ({error})")
            return False

    @cached_property
    def _study(self) -> optuna.Study:
        storage, name, _ = self.trial
        study = open_study(storage, name)
        study.pruner = pruner(study.user_attrs["pruner"])
        return study
