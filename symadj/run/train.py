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
from omegaconf import DictConfig, OmegaConf

from symadj.ode.compiled import compile_seconds
from symadj.report.run_plots import run_figures
from symadj.run.checkpoint import load_checkpoint, save_checkpoint
from symadj.run.configs import resolved, run_settings
from symadj.run.directory import check_name, make_run_directory, run_name, sole_user
from symadj.run.environment import environment
from symadj.run.failure import is_result, status_of, story_of
from symadj.run.files import (
    BEST,
    CHECKPOINT,
    CONFIG,
    HISTORY,
    LOG,
    PLOTS,
    RECORD,
    write_text,
)
from symadj.run.history import History, read_history
from symadj.run.interrupt import InterruptGuard
from symadj.run.log import logger, run_log, say
from symadj.run.loop import Trainer
from symadj.run.parts import Parts, build_parts
from symadj.run.progress import Progress
from symadj.run.quartiles import quartiles
from symadj.run.record import RunRecord, now
from symadj.run.resume import check_same, saved_config
from symadj.run.seed import own_randomness, seed_everything
from symadj.run.settings import RunSettings
from symadj.run.summary import header, summary
from symadj.threads import given_threads


def train(
    config: DictConfig, overrides: Sequence[str] = (), directory: Path | None = None
) -> RunRecord:
    """Trains as the configuration says, in a directory of the run's own.

    With `config.resume` naming a run directory, the training goes on there from its checkpoint.

    Args:
        config: composed by `symadj.run.configs.compose("train", ...)`.
        overrides: what was asked for on the command line; only names the directory.
        directory: as `run_directory` gives it; None: that is asked for one.

    Returns:
        The record, as saved. Its status tells a failed run (out of memory, a diverged or stuck
        solve, a loss that is no number) from a good one.

    Raises:
        InputError: a setting that cannot be used, before any training.
        KeyboardInterrupt: after the record and the checkpoint were written.
        Exception: a mistake in the code; the record and the log have it too.
    """
    config = resolved(config)
    settings = run_settings(config)
    if directory is None:
        directory = run_directory(config, settings, overrides)
    with (
        sole_user(directory),
        run_log(directory / LOG),
        InterruptGuard() as guard,
        given_threads(settings.threads),
    ):
        former = _former(directory) if settings.resume is not None else None
        return Run(config, settings, directory, former).execute(guard)


def run_directory(config: DictConfig, settings: RunSettings, overrides: Sequence[str]) -> Path:
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


class Run:
    """One run: its directory, its record, and the order of what happens.

    Args:
        config: the resolved configuration.
        settings: the same, typed.
        directory: of the run; it exists.
        former: None for a run that starts anew.
    """

    def __init__(
        self, config: DictConfig, settings: RunSettings, directory: Path, former: Former | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.directory = directory
        self.former = former
        self.parts: Parts | None = None
        self.trainer: Trainer | None = None
        self.compiled_before = compile_seconds()
        self.record = RunRecord(
            name=directory.name,
            started=now() if former is None else former.record.started,
            config=_plain(config),
            seed=settings.seed,
        )

    def execute(self, guard: InterruptGuard) -> RunRecord:
        """Trains, tests, draws; whatever happens, the record says how it ended."""
        record = self.record
        try:
            self._prepare(guard)
            self._train()
            record.status = "ok"
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
        write_text(self.directory / CONFIG, OmegaConf.to_yaml(self.config))
        # Until the end the record says "interrupted": true for a run that is killed outright.
        self.record.save(self.directory / RECORD)
        seed_everything(self.settings.seed)
        self.parts = parts = build_parts(self.config, self.settings)
        self._describe(parts)
        self.record.save(self.directory / RECORD)
        self.trainer = Trainer(parts, self.settings, self.directory, guard)
        if self.former is not None:
            self.trainer.restore(self.former.checkpoint)
            logger.info("resumed after iteration %d", self.trainer.counters.iteration)
        text = header(parts, self.directory)
        logger.info("run %s\n%s", self.directory, text)
        say(text)

    def _describe(self, parts: Parts) -> None:
        data, record = parts.data, self.record
        sizes = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
        record.data = {"name": data.name, "dim": data.dim, "note": data.note, **sizes}
        record.model = {"name": type(parts.model).__name__, "parameters": parts.parameter_count()}
        record.solver = parts.integrator.solver.method
        record.grad = parts.integrator.gradient.name
        record.environment = environment(parts.device)

    def _train(self) -> None:
        trainer, parts, train = self.trainer, self.parts, self.settings.train
        assert trainer is not None
        assert parts is not None
        monitor, done = parts.task.monitor, trainer.counters.iteration
        with (
            contextlib.closing(History(self.directory / HISTORY, monitor, keep=done)) as history,
            contextlib.closing(Progress(train.steps, done, monitor)) as progress,
        ):
            trainer.fit(history, progress)
        trainer.restore_best()
        if train.test:
            exact = getattr(parts.task, "exact_test", True)
            self.record.model["test_trace"] = "exact" if exact else "estimate"
            metrics = trainer.evaluate(parts.data.test, exact=exact)
            self.record.metrics |= {f"test/{name}": value for name, value in metrics.items()}
            for stem, table in getattr(parts.task, "tables", dict)().items():
                write_text(self.directory / f"{stem}.csv", table.to_csv(index=False))
        if train.figures:
            self._draw(lambda: self._task_figures(parts))

    def _task_figures(self, parts: Parts) -> dict[str, Figure]:
        generator = torch.Generator(device=parts.device).manual_seed(self.settings.seed)
        with own_randomness(self.settings.seed):
            return parts.task.figures(parts.model, parts.data, parts.integrator, generator)

    def _finish(self) -> None:
        """Writes what the run leaves, after any ending."""
        if self.trainer is not None:
            self._account(self.trainer)
            self._keep(self.trainer)
        self.record.finished = now()
        self.record.save(self.directory / RECORD)
        logger.info("status %s, %d iterations", self.record.status, self.record.iterations)
        if self.record.iterations and self.settings.train.figures:
            self._draw(lambda: run_figures(read_history(self.directory / HISTORY)))
        if self.trainer is not None:
            say(summary(self.record, self.directory))

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
        record.metrics = {**head, **record.metrics}

    def _keep(self, trainer: Trainer) -> None:
        # After a failed solve the checkpoint of the last validation is the last good one.
        if self.record.status == "interrupted" and trainer.resumable:
            trainer.save()
        if trainer.best is not None:
            save_checkpoint(self.directory / BEST, vars(trainer.best))

    def _draw(self, make: Callable[[], dict[str, Figure]]) -> None:
        """Plots are an extra: a failure to draw is logged and changes no status."""
        try:
            folder = self.directory / PLOTS
            folder.mkdir(exist_ok=True)
            for stem, figure in make().items():
                figure.savefig(folder / f"{stem}.png", dpi=150)
        except Exception:
            logger.exception("a plot could not be drawn")
            say(f"  a plot could not be drawn; {self.directory / LOG} says why")


def _former(directory: Path) -> Former:
    return Former(RunRecord.load(directory / RECORD), load_checkpoint(directory / CHECKPOINT))


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
