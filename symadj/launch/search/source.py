"""The trials of a search as the jobs of a sweep."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from symadj.config.space import Parameter, Value
from symadj.errors import InputError
from symadj.files import CONFIG, subfolder
from symadj.launch.index import Index, claimed, runs_of
from symadj.launch.job import Job, Outcome
from symadj.launch.run import finished_before
from symadj.launch.search.samplers import chosen, sampler
from symadj.launch.search.settings import SearchSettings
from symadj.launch.search.study import begin_study, pruner, reported
from symadj.records.status import Status
from symadj.run.directory import held, in_use, waited

JOURNAL = "journal.log"
_PROCESSES = ".processes"
_LATER = (Status.RUNNING, Status.INTERRUPTED, Status.STORAGE)
"""Endings after which the same command goes on with a trial."""


class Search:
    """Asks a study for trials and tells it how they ended.

    Several processes may share a study. Each holds the lock of a file of its own, whose name the
    trials have that it asked for: those of a process that has ended, and whose jobs no process is
    at, are taken over by the others and by later ones.

    Args:
        settings: of the search.
        space: what a trial chooses.
        metric: of a run's record, by which trials are judged.
        about: what the study is a study of, by plain values.
        schedule: iterations from the start to the first validation, and to the end.
        make: the job of a trial from its values.
        out: the directory of the runs.

    Attributes:
        total: how many trials are left.
        study: Optuna's.
        folder: of the study, below `out`, as an absolute path.
        shown_folder: the same as `out` has it.

    Raises:
        InputError: the study is one of another search, or its folder is a run's.
        StorageError: it cannot be written.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: Sequence[Parameter],
        metric: str,
        about: Mapping[str, object],
        schedule: tuple[int, int],
        make: Callable[[Mapping[str, Value]], Job],
        out: Path,
    ) -> None:
        self.settings, self.space, self.metric = settings, space, metric
        self.limit = settings.limit(space)
        self._make = make
        out.mkdir(parents=True, exist_ok=True)
        self.shown_folder = subfolder(out, settings.study)
        self.folder = self.shown_folder.absolute()
        if (self.folder / CONFIG).exists():
            raise InputError(f"{self.folder} is a run; give the study a name: search.study=NAME.")
        self.storage = settings.storage or str(self.folder / JOURNAL)
        with self._turn():
            self.study = begin_study(self.storage, settings.study, settings.direction, about)
            pruning = _pruning(settings, schedule)
            with reported(self.storage):
                self.study.set_user_attr("pruner", pruning)
        self.study.pruner = pruner(pruning)
        self._index = Index(out)
        self._jobs: dict[int, Job] = {}
        self._in_hand: dict[str, list[int]] = {}  # by the identity of the job
        self._put_off: set[int] = set()
        self._process = uuid.uuid4().hex
        self._held = ExitStack()
        self._held.enter_context(held(subfolder(self.folder, _PROCESSES) / self._process))
        ended = sum(trial.state.is_finished() for trial in self.trials())
        self.total = max(0, self.limit - ended)

    def trials(self) -> list[FrozenTrial]:
        """All trials of the study, whichever process asked for them, in their order."""
        with reported(self.storage):
            return self.study.get_trials(deepcopy=False)

    def job(self, trial: FrozenTrial) -> Job:
        """The job of a trial that has all its values."""
        return self._make({p.key: trial.params[p.key] for p in self.space})

    def ask(self) -> Job | None:
        """The next trial: one that was cut off, or a new one; None: there is none at the moment."""
        while True:
            with self._turn(), reported(self.storage):
                number = self._cut_off()
                number = self._new() if number is None else number
            if number is None:
                return None
            job = self._jobs[number]
            twins = self._in_hand.setdefault(job.identity, [])
            twins.append(number)
            # One of the same values is running here: its result is that of both.
            if len(twins) == 1:
                return job

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Gives a trial's result to the study; one that can go on is left for later."""
        assert job.trial is not None
        later = outcome.status in _LATER and finished_before(job) is None
        for number in self._in_hand.pop(job.identity, []):
            if not later:
                with reported(self.storage):
                    self._finish(number, outcome)
            elif outcome.status is not Status.RUNNING:
                self._put_off.add(number)

    def close(self) -> None:
        """Lets the trials that have not ended be taken over."""
        self._held.close()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Within it no other process that shares the folder asks for a trial."""
        with waited(self.folder / ".lock"):
            yield

    def _cut_off(self) -> int | None:
        """The first trial that has begun, has not ended, and that nobody is at."""
        own = {number for numbers in self._in_hand.values() for number in numbers}
        for trial in self.trials():
            number = trial.number
            if trial.state is not TrialState.RUNNING or number in own or number in self._put_off:
                continue
            if self._asker_has_ended(trial) and self._is_free(self._job_of(number)):
                self._trial(number).set_user_attr("process", self._process)
                return number
        return None

    def _asker_has_ended(self, trial: FrozenTrial) -> bool:
        asker = trial.user_attrs.get("process")
        if asker is None:  # it died while it asked; elsewhere, where the database is elsewhere
            return self.settings.storage is None
        path = self.folder / _PROCESSES / Path(str(asker)).name
        if asker == self._process or not path.exists():
            return asker == self._process
        with held(path) as free:
            return free

    @staticmethod
    def _is_free(job: Job) -> bool:
        with claimed(job) as claim:
            return claim is not None and not any(in_use(run.directory) for run in runs_of(job))

    def _new(self) -> int | None:
        number = len(self.trials())
        if number >= self.limit:
            return None
        self.study.sampler = sampler(self.settings, self.space, number)
        trial = self.study.ask()
        trial.set_user_attr("process", self._process)
        self._job_of(trial.number, trial)
        return trial.number

    def _job_of(self, number: int, trial: Trial | None = None) -> Job:
        """The job of a trial; values that it has not been given yet are drawn now."""
        if number not in self._jobs:
            self.study.sampler = sampler(self.settings, self.space, number)
            trial = self._trial(number) if trial is None else trial
            values = {parameter.key: chosen(trial, parameter) for parameter in self.space}
            label = " ".join(f"{key}={shown(value)}" for key, value in values.items())
            self._jobs[number] = replace(
                self._index.known(self._make(values)),
                label=f"trial {number}: {label}",
                failures_count=True,
                trial=(self.storage, self.settings.study, number),
            )
        return self._jobs[number]

    def _trial(self, number: int) -> Trial:
        return Trial(self.study, self.trials()[number]._trial_id)

    def _finish(self, number: int, outcome: Outcome) -> None:
        if self.trials()[number].state.is_finished():
            return
        self.study.sampler = optuna.samplers.RandomSampler()
        trial = self._trial(number)
        trial.set_user_attr("directory", outcome.directory)
        trial.set_user_attr("status", str(outcome.status))
        value = outcome.metrics.get(self.metric, math.nan)
        if outcome.status is Status.PRUNED:
            self.study.tell(number, state=TrialState.PRUNED, skip_if_finished=True)
        elif outcome.status is Status.OK and not math.isnan(value):
            self.study.tell(number, value, skip_if_finished=True)
        else:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)


def shown(value: Value) -> str:
    """A value as tables and labels have it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _pruning(settings: SearchSettings, schedule: tuple[int, int]) -> dict[str, object]:
    first, steps = schedule
    return {
        "pruner": settings.pruner,
        "trials": settings.pruner_trials,
        "iterations": settings.pruner_iterations or first,
        "factor": settings.pruner_factor,
        "steps": steps,
    }
