"""One training run from its configuration to its record."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from symadj.config.compose import run_settings, to_yaml
from symadj.config.saved import check_same, saved_config
from symadj.config.schema import Config, RunSettings
from symadj.errors import Pruned, StorageError
from symadj.figures.run import run_figures
from symadj.files import (
    BEST,
    CHECKPOINT,
    CONFIG,
    HISTORY,
    LOG,
    PLOTS,
    RECORD,
    check_files,
    remove_temporaries,
    subfolder,
    write_atomically,
    write_text,
)
from symadj.ode.compiled import compile_seconds
from symadj.records.environment import environment
from symadj.records.history import read_history
from symadj.records.record import RunRecord, now, quartiles
from symadj.records.status import Status, is_result, status_of, story_of
from symadj.run.assist import assist
from symadj.run.checkpoint import load_checkpoint, save_checkpoint
from symadj.run.data_file import check_data_file, describe_file
from symadj.run.directory import check_name, make_run_directory, run_name, sole_user
from symadj.run.interrupt import InterruptGuard
from symadj.run.log import RunLog, logger, run_log
from symadj.run.loop import Trainer
from symadj.run.parts import Parts, build_parts
from symadj.run.progress import Progress
from symadj.run.ranks import Ranks, is_rank, ranks_of
from symadj.run.seed import own_randomness, seed_everything
from symadj.run.start import check_devices, train_on_devices
from symadj.run.summary import header, summary
from symadj.terminal import complain, say
from symadj.threads import given_threads


def train(
    config: Config,
    overrides: Sequence[str] = (),
    directory: Path | None = None,
    watch: Callable[[int, float], bool] | None = None,
) -> RunRecord:
    """Trains as the configuration says, in a directory of the run's own.

    With `config.resume` naming a run directory, the training goes on there from its checkpoint.
    What that run has left stays as it is until the first new iteration has been saved.

    With `config.devices` of 2 or more, or in the processes of torchrun, the training is shared
    (`symadj.run.ranks`).

    Args:
        config: composed by `symadj.config.compose.compose("train", ...)`.
        overrides: what was asked for on the command line; only names the directory.
        directory: as `run_directory` gives it; None: that is asked for one.
        watch: called with the iteration and the metric of every validation; where it says so, the
            training ends there with status "pruned". None: nothing is.

    Returns:
        The record, as saved. Its status tells a failed run (out of memory, a diverged or stuck
        solve, a loss that is no number, a full disk) from a good one. In a process of torchrun that
        is not the first, a record of its own that is not saved.

    Raises:
        InputError: a setting or a file that cannot be used, before any training.
        KeyboardInterrupt: after the record and the checkpoint were written.
        Exception: a mistake in the code; the record and the log have it too.
    """
    settings = run_settings(config)
    if settings.devices > 1 and not is_rank():
        check_devices(settings)
        directory = directory or run_directory(config, settings, overrides)
        return train_on_devices(config, settings, directory, watch)
    ranks = ranks_of(settings)
    settings = ranks.own(settings)
    with given_threads(settings.threads):
        if not ranks.leads:
            with InterruptGuard() as guard:
                return assist(config, settings, ranks, guard)
        directory = directory or run_directory(config, settings, overrides)
        with sole_user(directory), run_log(directory / LOG) as log, InterruptGuard() as guard:
            remove_temporaries(directory)
            former = _former(directory) if settings.resume is not None else None
            return Run(config, settings, directory, former, log, ranks, watch).execute(guard)


def run_directory(config: Config, settings: RunSettings, overrides: Sequence[str]) -> Path:
    """The directory of the run to resume, or one made for a new run.

    Raises:
        InputError: none can be made, or the run to resume was another one.
    """
    if settings.resume is not None:
        directory = Path(settings.resume)
        check_same(saved_config(directory), config, directory)
        return directory
    name = settings.name
    if name is None:
        name = run_name(datetime.now(), overrides, settings.seed)
    return make_run_directory(Path(settings.out), check_name(name))


@dataclass(frozen=True)
class Former:
    """What a resumed run goes on from: the record and the checkpoint that it left."""

    record: RunRecord
    checkpoint: dict[str, Any]


def _former(directory: Path) -> Former | None:
    """What a run has left to go on from; None: it was cut off before its first checkpoint."""
    check_files(directory)
    if never_saved(directory):
        say(f"{directory} was cut off before its first checkpoint: it starts anew, in place")
        return None
    checkpoint = load_checkpoint(directory / CHECKPOINT)
    return Former(RunRecord.load(directory / RECORD), checkpoint)


def never_saved(directory: Path) -> bool:
    """Whether a run was cut off before its first checkpoint, so that nothing of it can be lost.

    Raises:
        InputError: its record cannot be read.
    """
    if (directory / CHECKPOINT).exists():
        return False
    if not (directory / RECORD).exists():
        return True
    record = RunRecord.load(directory / RECORD)
    return record.status in (Status.INTERRUPTED, Status.STORAGE) and record.iterations == 0


class Run:
    """One run: its directory, its record, and the order of what happens.

    Args:
        config: the configuration.
        settings: the same, typed.
        directory: of the run; it exists.
        former: None for a run that starts anew.
        log: of the run.
        ranks: the processes that train together, of which this is the first.
        watch: of its validations.
    """

    def __init__(
        self,
        config: Config,
        settings: RunSettings,
        directory: Path,
        former: Former | None,
        log: RunLog,
        ranks: Ranks,
        watch: Callable[[int, float], bool] | None = None,
    ) -> None:
        self.config = config
        self.settings = settings
        self.directory = directory
        self.former = former
        self.log = log
        self.ranks = ranks
        self.watch = watch
        self.parts: Parts | None = None
        self.trainer: Trainer | None = None
        self.begun = False
        self.compiled_before = compile_seconds()
        self.record = RunRecord(
            name=directory.name,
            started=now() if former is None else former.record.started,
            config=dict(config),
            seed=settings.seed,
        )

    def execute(self, guard: InterruptGuard) -> RunRecord:
        """Trains, tests, draws; whatever happens, the record says how it ended."""
        record = self.record
        try:
            with self.ranks.together(guard):
                self._prepare(guard)
                self._train()
            self._conclude()
            record.status = Status.OK
        except Pruned as end:
            record.status = Status.PRUNED
            logger.info("%s", end)
        except BaseException as error:
            record.status = status_of(error)
            record.error = story_of(error)
            logger.exception("the run ended with status %s", record.status)
            if not is_result(error):
                raise
        finally:
            with guard.critical():
                self._finish()
        return record

    def _prepare(self, guard: InterruptGuard) -> None:
        """Everything that can be refused is refused here, before any training."""
        if self.former is None:
            self._begin()
        seed_everything(self.settings.seed)
        self.parts = parts = build_parts(self.config, self.settings)
        self._describe(parts)
        where = self.directory, guard, self._saved, self.ranks, self.watch
        self.trainer = Trainer(parts, self.settings, *where)
        checkpoint = None if self.former is None else self.former.checkpoint
        self.ranks.first(checkpoint)
        if self.former is not None and checkpoint is not None:
            check_data_file(self.former.record, parts.data, self.directory)
            self.trainer.restore(checkpoint)
            logger.info("resumed after iteration %d", self.trainer.counters.iteration)
        text = header(parts, self.directory, self.ranks.devices)
        logger.info("run %s\n%s", self.directory, text)
        say(text)

    def _begin(self) -> None:
        """From here on the directory is this run's: its configuration, its record and its log."""
        write_text(self.directory / CONFIG, to_yaml(self.config))
        # Until the end the record says "interrupted": true for a run that is killed outright.
        self.record.save(self.directory / RECORD)
        self.log.begin()
        self.begun = True

    def _saved(self) -> None:
        """After every checkpoint: the record has what the checkpoint has."""
        assert self.trainer is not None
        self._account(self.trainer)
        if self.begun:
            self.record.save(self.directory / RECORD)
        else:
            self._begin()

    def _describe(self, parts: Parts) -> None:
        data, record = parts.data, self.record
        sizes = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
        file = describe_file(data)
        record.data = {"name": data.name, "dim": data.dim, "note": data.note, **sizes, **file}
        record.model = {"name": type(parts.model).__name__, "parameters": parts.parameter_count()}
        record.solver = parts.integrator.solver.method
        record.grad = parts.integrator.gradient.name
        record.environment = environment(parts.device, self.ranks.devices)

    def _train(self) -> None:
        trainer, parts = self.trainer, self.parts
        assert trainer is not None
        assert parts is not None
        steps, done = self.settings.train.steps, trainer.counters.iteration
        with contextlib.closing(Progress(steps, done, parts.task.monitor)) as progress:
            trainer.fit(progress)

    def _conclude(self) -> None:
        """The test and the pictures, with the chosen weights."""
        trainer, parts, train = self.trainer, self.parts, self.settings.train
        assert trainer is not None
        assert parts is not None
        trainer.restore_best()
        if train.test:
            self.record.model |= parts.task.test_notes()
            metrics = trainer.evaluate("test", test=True)
            self.record.metrics |= {f"test/{name}": value for name, value in metrics.items()}
            for stem, table in parts.task.tables().items():
                write_text(self.directory / f"{stem}.csv", table.to_csv(index=False))
        if train.figures:
            self._draw(lambda: self._task_figures(parts))

    def _task_figures(self, parts: Parts) -> dict[str, Figure]:
        generator = torch.Generator(device=parts.device).manual_seed(self.settings.seed)
        with own_randomness(self.settings.seed):
            return parts.task.figures(parts.model, parts.data, parts.integrator, generator)

    def _finish(self) -> None:
        """Writes what the run leaves, after any ending.

        A run that was to go on, and did not get as far as to save anything new, stays what it was.
        """
        trainer, record = self.trainer, self.record
        record.finished = now()
        try:
            if trainer is not None:
                self._keep(trainer)
            if not self.begun and self.former is not None and record.status is not Status.OK:
                say(f"  nothing new was saved: {self.directory} is as it was")
                return
            if trainer is not None:
                if trainer.best is not None:
                    save_checkpoint(self.directory / BEST, vars(trainer.best))
                self._account(trainer)
            if not self.begun:  # interrupted before anything, or resumed with nothing left to do
                self._begin()
            record.save(self.directory / RECORD)
        except StorageError as error:
            # What has ended the run, if anything, is the story to tell.
            if record.error is None:
                record.status, record.error = status_of(error), story_of(error)
            complain(f"  {error}")
        logger.info("status %s, %d iterations", record.status, record.iterations)
        if record.iterations and self.settings.train.figures:
            self._draw(lambda: run_figures(read_history(self.directory / HISTORY)))
        if trainer is not None:
            say(summary(record, self.directory))

    def _account(self, trainer: Trainer) -> None:
        record, counters = self.record, trainer.counters
        counts = counters.stats.as_dict()
        record.iterations = counters.iteration
        record.evaluations = {
            name: counts[name] for name in ("forward", "recomputed", "with_graph", "vjps")
        }
        record.steps = {name: counts[name] for name in ("accepted", "rejected")}
        parts = vars(trainer.timings).items()
        record.seconds = {name: quartiles(values) for name, values in parts}
        record.seconds["total"] = counters.wall
        if (compiling := compile_seconds() - self.compiled_before) > 0:
            record.seconds["compile"] = compiling
        record.memory = trainer.memory
        head = {"train/loss": counters.loss} if counters.iteration else {}
        if trainer.best is not None:
            head[f"val/{trainer.parts.task.monitor}"] = trainer.best.metric
        record.metrics = head | {k: v for k, v in record.metrics.items() if k not in head}

    def _keep(self, trainer: Trainer) -> None:
        # After a failed solve the checkpoint of the last validation is the last good one.
        if self.record.status is Status.INTERRUPTED and trainer.resumable and trainer.unsaved:
            trainer.save()
        trainer.close()

    def _draw(self, make: Callable[[], dict[str, Figure]]) -> None:
        """Plots are an extra: a failure to draw is logged and changes no status."""
        try:
            folder = subfolder(self.directory, PLOTS)
            for stem, figure in make().items():
                write_atomically(
                    folder / f"{stem}.png",
                    lambda file, figure=figure: figure.savefig(file, dpi=150, format="png"),
                )
        except Exception:
            logger.exception("a plot could not be drawn")
            say(f"  a plot could not be drawn; {self.directory / LOG} says why")
