"""A rank that is not the first: it trains along, writes no file and says nothing."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from symadj.config.schema import Config, RunSettings
from symadj.records.history import History, Row
from symadj.records.record import RunRecord, now
from symadj.records.status import Status, is_result, status_of, story_of
from symadj.run.interrupt import InterruptGuard
from symadj.run.loop import Trainer
from symadj.run.parts import build_parts
from symadj.run.progress import Progress
from symadj.run.ranks import Ranks
from symadj.run.seed import seed_everything


def assist(config: Config, settings: RunSettings, ranks: Ranks, guard: InterruptGuard) -> RunRecord:
    """Takes part in a training until its last iteration.

    Returns:
        A record of this rank's own, which is not saved: how the training ended for it.

    Raises:
        InputError: a setting that cannot be used.
        KeyboardInterrupt: all ranks were asked to end.
        Exception: a mistake in the code.
    """
    record = RunRecord(name="", started=now(), seed=settings.seed)
    try:
        with _silent() as nowhere, ranks.together(guard):
            seed_everything(settings.seed)
            parts = build_parts(config, settings)
            trainer = Helper(parts, settings, Path(), guard, lambda: None, ranks)
            checkpoint = ranks.first(None)
            if checkpoint is not None:
                trainer.restore(checkpoint)
            done = trainer.counters.iteration
            trainer.fit(Progress(settings.train.steps, done, parts.task.monitor, nowhere))
        record.status = Status.OK
    except Exception as error:
        record.status, record.error = status_of(error), story_of(error)
        if not is_result(error):
            raise
    record.finished = now()
    return record


class Helper(Trainer):
    """A `Trainer` whose history and checkpoint another rank keeps."""

    def save(self) -> None:
        """There is nothing to be saved here."""
        self.unsaved = False

    def _open_history(self) -> History:
        return _NoHistory()

    def _restore(self, state: dict[str, Any]) -> None:
        super()._restore(state)
        if states := state["random"]["cuda"]:
            # The noise is that of the first rank, which has the first GPU.
            torch.cuda.set_rng_state(states[0].cpu(), self.parts.device)
            self._mark()


class _NoHistory(History):
    """The history that a `Helper` does not keep."""

    def __init__(self) -> None:
        self.missing = []

    def append(self, row: Row) -> None:
        pass

    def validated(self, iteration: int, metric: float, tracked: Sequence[float] = ()) -> None:
        pass

    def close(self) -> None:
        pass


@contextlib.contextmanager
def _silent() -> Iterator[Any]:
    """Within it what is printed, and every warning, goes nowhere: the first rank says the same."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield nowhere
