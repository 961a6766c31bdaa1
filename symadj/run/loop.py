"""The training loop: iterations, validations, checkpoints, and going on where one ended."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from symadj.config.schema import RunSettings
from symadj.data.base import Batch
from symadj.errors import InputError, NonFiniteLoss, Pruned, TimeLimitExceeded
from symadj.files import CHECKPOINT, HISTORY
from symadj.meters.meter import Meter
from symadj.meters.step import Stopwatch, measure_memory
from symadj.ode.stats import SolveStats
from symadj.records.history import History, Row
from symadj.run.average import Average
from symadj.run.checkpoint import check_state, save_checkpoint
from symadj.run.counters import Best, Counters, StepResult, Timings
from symadj.run.interrupt import InterruptGuard, TimeIsUp
from symadj.run.log import logger
from symadj.run.parts import Parts
from symadj.run.progress import Progress
from symadj.run.ranks import Ranks
from symadj.run.seed import random_state, restore_random_state
from symadj.terminal import say

LENIENCE = 5.0
"""Seconds that the iteration in hand may take longer than the time that was given, at least."""


class Trainer:
    """Trains the parts of a run and keeps its checkpoint.

    An iteration is all or nothing: what the checkpoint of an interrupted run holds is the state
    after the last whole iteration, random numbers included, so that a resumed run repeats the
    losses of one that was never interrupted, bit for bit. The rows of all iterations that a
    checkpoint counts are on disk before it is.

    Args:
        parts: what is trained.
        settings: of the run.
        directory: of the run.
        guard: holds signals back while the state changes.
        saved: called after every checkpoint.
        ranks: the processes that train together.
        watch: called with the iteration and the metric of every validation; says whether the
            training is to end there. None: nothing is.

    Attributes:
        counters, timings, memory, best: what the training has done so far; `memory` is that of the
            hungriest metered iteration, on the hungriest rank.
        resumable: whether `state()` is one that training can go on from.
        unsaved: whether it is further than the checkpoint.
        given_up: whether `watch` has said that it is to end.
    """

    def __init__(
        self,
        parts: Parts,
        settings: RunSettings,
        directory: Path,
        guard: InterruptGuard,
        saved: Callable[[], None],
        ranks: Ranks,
        watch: Callable[[int, float], bool] | None = None,
    ) -> None:
        self.parts = parts
        self.settings = settings
        self.directory = directory
        self.guard = guard
        self.saved = saved
        self.ranks = ranks
        self.objective = ranks.objective(parts)
        self.watch = watch
        self.history: History | None = None
        self.counters = Counters()
        self.timings = Timings()
        self.memory: dict[str, Any] | None = None
        self.meter = settings.measure.meter(parts.device, compiled=settings.compile)
        self.best: Best | None = None
        self.resumable = True
        self.unsaved = False
        self.given_up = False
        self._row: Row | None = None
        self.average = Average.of(parts.model, settings.train.ema)
        self.batches = torch.Generator().manual_seed(settings.seed)
        self._mark()

    # The loop

    def fit(self, progress: Progress) -> None:
        """Trains until the steps, the time or the patience are used up.

        A training that goes on saves its first new iteration at once: from then on the run is the
        new one, and until then it is the old one.

        Raises:
            SolveError, NonFiniteLoss, MemoryError, Interrupted: the last checkpoint stays.
            TimeLimitExceeded: the time was over before the first iteration was.
            Pruned: `watch` has ended it, after its validation was saved.
        """
        with self.ranks.held(self.guard):
            self._fit(progress)

    def _fit(self, progress: Progress) -> None:
        begun = self.counters.iteration
        self.history = history = self._open_history()
        if begun == 0:
            self.save()
        elif self._due() and self.counters.validated < begun:
            # The run was cut off between an iteration and its validation.
            self._validate_late(history)
        started = time.perf_counter() - self.counters.wall
        try:
            while not (self.finished() or self.given_up):
                row = self._bounded()
                if row is None:
                    break
                self.counters.wall = row.wall = self._wall(started)
                if self._due() or self.finished():
                    row.validation, *row.tracked = self.validate()
                    self.counters.wall = self._wall(started)
                self._write_row(history, progress)
                going_on = begun > 0 and row.iteration == begun + 1
                if self._asked() or row.validation is not None or going_on:
                    self.save()
        finally:
            # An iteration that counts has its row, even if what came after it was cut off.
            self._write_row(history, progress)
        if self.counters.validated < self.counters.iteration:
            self._validate_late(history, ending=True)
        if self.unsaved:
            self.save()
        if self.given_up and not self.finished():
            raise Pruned(f"pruned after iteration {self.counters.iteration}")

    def close(self) -> None:
        """Closes the history."""
        if self.history is not None:
            self.history.close()

    def _wall(self, started: float) -> float:
        return self.ranks.agree(time.perf_counter() - started, self.guard)

    def _open_history(self) -> History:
        done = self.counters.iteration
        task = self.parts.task
        history = History(self.directory / HISTORY, task.monitor, done, task.tracked)
        if history.missing:
            say(
                f"  {HISTORY} lacks {len(history.missing)} of the {done} iterations before "
                f"(the first is {history.missing[0]}); the training goes on without their rows"
            )
        return history

    def _bounded(self) -> Row | None:
        """An iteration; None: the time was over in the middle of it, and it counts for nothing.

        The iteration in hand may end after the time that was given, within as long again.
        """
        bound, number = self.settings.train.max_seconds, self.counters.iteration
        if bound is None:
            return self._iterate()
        try:
            with self.guard.time_limit(max(0.0, bound - self.counters.wall) + max(bound, LENIENCE)):
                return self._iterate()
        except TimeIsUp:
            self._forget_half_an_iteration()
        if self.counters.iteration > number:  # it had just ended
            return self._row
        if number == 0:
            raise TimeLimitExceeded(
                f"train.max_seconds={bound:g} was over, and as long again, before the first "
                "iteration had ended; raise it, or take fewer steps, a looser tolerance or a "
                "smaller train.batch_size."
            )
        return None

    def _forget_half_an_iteration(self) -> None:
        self.parts.integrator.take_stats()
        with torch.no_grad():
            for name, buffer in self.parts.model.named_buffers():
                buffer.copy_(self._buffers[name])

    def _asked(self) -> bool:
        """Whether SIGUSR1 has asked for a checkpoint since the last one."""
        asked, self.guard.checkpoint_asked = self.guard.checkpoint_asked, False
        return asked

    def _write_row(self, history: History, progress: Progress) -> None:
        if self._row is not None:
            with self.guard.critical():
                row, self._row = self._row, None
                history.append(row)
            progress.iteration(row)

    def _validate_late(self, history: History, ending: bool = False) -> None:
        """A validation whose iteration has its row already."""
        metric, *tracked = self.validate(ending)
        history.validated(self.counters.iteration, metric, tracked)

    def finished(self) -> bool:
        """Whether the steps, the time or the patience are used up."""
        train, counters = self.settings.train, self.counters
        return (
            counters.iteration >= train.steps
            or (train.max_seconds is not None and counters.wall >= train.max_seconds)
            or (train.patience is not None and counters.stale >= train.patience)
        )

    def _due(self) -> bool:
        return self.counters.iteration % self.settings.train.eval_every == 0

    def _iterate(self) -> Row:
        """One step of the optimiser; the row's wall-clock is left to the caller."""
        parts, measure = self.parts, self.settings.measure
        parts.model.train()
        batch = parts.batch(self.settings.train.batch_size, self.batches)
        lr = parts.optimizer.param_groups[0]["lr"]
        number = self.counters.iteration + 1
        parts.optimizer.zero_grad(set_to_none=True)
        meter = self.meter if measure.meters(number) else None
        watch = Stopwatch(parts.device)
        step = self._gradient(batch, watch) if meter is None else self._metered(batch, meter)
        if self.settings.train.clip is not None:
            nn.utils.clip_grad_norm_(parts.model.parameters(), self.settings.train.clip)
        with self.guard.critical():
            watch.lap()
            with meter or nullcontext():
                parts.optimizer.step()
            self.average.update()
            parts.scheduler.step()
            optimizer = watch.lap()
            if meter is not None:
                self._remember(step, meter)
            if measure.times(number):
                self.timings.add(step.forward, step.backward, optimizer)
            row = self._row = self._count(step, step.forward + step.backward + optimizer, lr)
        return row

    def _gradient(self, batch: Batch, watch: Stopwatch) -> StepResult:
        """Forward and backward pass, timed."""
        loss = self.objective(batch)
        value = self._finite(self.ranks.total(loss))
        forward = watch.lap()
        loss.backward()
        backward = watch.lap()
        stats = self.ranks.most(self.parts.integrator.take_stats())
        return StepResult(value, stats, forward, backward)

    def _metered(self, batch: Batch, meter: Meter) -> StepResult:
        """Forward and backward pass, metered; its seconds count for nothing."""
        step = StepResult(math.nan, SolveStats(), math.nan, math.nan)

        def forward() -> Tensor:
            loss = self.objective(batch)
            step.loss = self._finite(self.ranks.total(loss))
            return loss

        def stats() -> SolveStats:
            own = self.parts.integrator.take_stats()
            step.stats = self.ranks.most(own)
            return own

        step.memory = self.ranks.hungriest(measure_memory(forward, None, meter, stats))
        return step

    def _remember(self, step: StepResult, meter: Meter) -> None:
        """Keeps the memory of the hungriest metered iteration for the record."""
        assert step.memory is not None
        step.memory["optimizer_bytes"] = meter.peak_bytes
        if self.memory is None or step.memory["peak_bytes"] > self.memory["peak_bytes"]:
            self.memory = step.memory

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise NonFiniteLoss(
                f"the loss became {loss} in iteration {self.counters.iteration + 1}; a smaller "
                "optim.lr, train.clip=1 or dtype=float64 may help."
            )
        return loss

    def _count(self, step: StepResult, seconds: float, lr: float) -> Row:
        self.counters.iteration += 1
        self.counters.loss = step.loss
        self.counters.stats = self.counters.stats + step.stats
        self.unsaved = True
        self._mark()
        return Row(
            iteration=self.counters.iteration,
            wall=self.counters.wall,
            loss=step.loss,
            seconds=seconds,
            stats=step.stats,
            lr=lr,
            memory_bytes=None if step.memory is None else step.memory["peak_bytes"],
        )

    # Validation and test

    def validate(self, ending: bool = False) -> list[float]:
        """The task's monitor and what it tracks on the validation split; keeps the chosen weights.

        Args:
            ending: whether the training ends here, for another reason than `finished` says.
        """
        monitor = self.parts.task.monitor
        with self.average.in_place():
            found = self.evaluate("val")
        names = (monitor, *self.parts.task.tracked)
        metric, *tracked = self.ranks.first([found[name] for name in names])
        if not math.isfinite(metric):
            raise NonFiniteLoss(
                f"the validation's {monitor} became {metric} after iteration "
                f"{self.counters.iteration}; a smaller optim.lr or train.clip=1 may help."
            )
        with self.guard.critical():
            self.counters.validated = self.counters.iteration
            self.unsaved = True
            if self.best is None or metric < self.best.metric:
                self._choose(metric)
                self.counters.stale = 0
            else:
                self.counters.stale += 1
            if self.settings.train.choose == "last" and (ending or self.finished()):
                self._choose(metric)
            self.parts.optim.follow(self.counters.stale, self.parts.scheduler)
        logger.info("iteration %d: val %s %.6g", self.counters.iteration, monitor, metric)
        given_up = self.watch is not None and self.watch(self.counters.iteration, metric)
        self.given_up = self.ranks.first(given_up)
        return [metric, *tracked]

    def _choose(self, metric: float) -> None:
        with self.average.in_place():
            self.best = Best(self.counters.iteration, metric, self._weights())

    def evaluate(self, split: str, *, test: bool = False) -> dict[str, float]:
        """The task's metrics on one split, on noise of its own that is the same every time."""
        metrics = self.parts.evaluate(split, self.settings, test)
        self.parts.integrator.take_stats()
        return metrics

    def restore_best(self) -> None:
        """Gives the model the chosen weights, where there was a validation.

        What the model holds then is no state to train on from: `resumable` becomes False.
        """
        self.resumable = False
        if self.best is not None:
            self.parts.model.load_state_dict(self.best.model)
        self.parts.model.eval()

    # State

    def save(self) -> None:
        """Writes the state after the last whole iteration to the checkpoint file.

        Raises:
            StorageError: it, or the history, cannot be written; what there was before is whole.
        """
        assert self.resumable
        assert self.history is not None
        with self.guard.critical():
            self.history.commit()
            save_checkpoint(self.directory / CHECKPOINT, self.state())
            self.unsaved = False
            self.saved()

    def state(self) -> dict[str, Any]:
        """The state after the last whole iteration."""
        return {
            "progress": asdict(self.counters),
            "timings": asdict(self.timings),
            "memory": self.memory,
            "model": self._weights(),
            "average": self.average.state(),
            "optimizer": self.parts.optimizer.state_dict(),
            "scheduler": self.parts.scheduler.state_dict(),
            "random": self._random,
            "batches": self._batches,
            "best": None if self.best is None else vars(self.best),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes back to a checkpoint's state.

        Raises:
            InputError: it is not one of this run, or of more iterations than the run has.
        """
        path = self.directory / CHECKPOINT
        try:
            check_state(state, self.state(), self.parts.optimizer)
            self._restore(state)
        except (RuntimeError, ValueError, TypeError, OverflowError) as error:
            reason = " ".join(str(error).split())[:300]
            raise InputError(f"{path} is not the checkpoint of this run: {reason}") from error
        done, steps = self.counters.iteration, self.settings.train.steps
        if done > steps:
            raise InputError(
                f"train.steps={steps}, and {path} is that of iteration {done}: give "
                f"train.steps={done} or more to go on."
            )

    def _restore(self, state: dict[str, Any]) -> None:
        parts = self.parts
        parts.model.load_state_dict(state["model"])
        self.average.restore(state["average"])
        parts.optimizer.load_state_dict(state["optimizer"])
        parts.scheduler.load_state_dict(state["scheduler"])
        progress = dict(state["progress"])
        self.counters = Counters(**{**progress, "stats": SolveStats(**progress["stats"])})
        self.timings = Timings(**state["timings"])
        self.memory = state["memory"]
        self.best = None if state["best"] is None else Best(**state["best"])
        self.batches.set_state(state["batches"])
        restore_random_state(state["random"])
        self._mark()

    def _mark(self) -> None:
        self._random = random_state()
        self._batches = self.batches.get_state()
        # A forward pass may move buffers (running means), and its iteration may be cut off.
        self._buffers = {name: b.clone() for name, b in self.parts.model.named_buffers()}

    def _weights(self) -> dict[str, Tensor]:
        state = self.parts.model.state_dict()
        state |= {name: b for name, b in self._buffers.items() if name in state}
        return {name: value.detach().cpu().clone() for name, value in state.items()}
