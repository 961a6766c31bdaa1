"""One guiding of a trained run's samples: what it leaves in a directory, and how it ends."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor

from symadj.config.compose import to_yaml
from symadj.config.schema import Config
from symadj.errors import InputError
from symadj.figures.guide import image_sheets, loss_over_uses, states_on_the_way, trajectories
from symadj.files import (
    BEST,
    CONFIG,
    HISTORY,
    PLOTS,
    RECORD,
    subfolder,
    write_atomically,
    write_text,
)
from symadj.guide.goals import Goal, Subject
from symadj.guide.goals.target import Target
from symadj.guide.sampler import Guided, Sampler
from symadj.guide.ways.base import Way, sampled
from symadj.memory import require_memory
from symadj.meters.step import Stopwatch
from symadj.models.velocity import GuidedVelocity, Velocity
from symadj.ode.stats import SolveStats
from symadj.records.environment import environment
from symadj.records.history import Row
from symadj.records.record import RunRecord, now, quartiles
from symadj.records.status import Status, status_of, story_of
from symadj.run.data_file import describe_file
from symadj.run.parts import Parts
from symadj.run.progress import Progress
from symadj.run.trained import TrainedRun

COUNTS = ("forward", "recomputed", "with_graph", "vjps", "accepted", "rejected")


@dataclass(frozen=True)
class Draw:
    """The samples that are guided.

    Attributes:
        n: how many, all at once.
        seed: of their noise.
        label: the class that they are drawn under; None: none.
        guidance: the strength of classifier-free guidance.
        figures: whether pictures are drawn.
    """

    n: int = 16
    seed: int = 0
    label: int | None = None
    guidance: float = 1.0
    figures: bool = True


class Guiding:
    """Samples of a trained run under a goal; all that can be refused is refused here.

    Args:
        run: of task=flow_matching.
        goal: not bound yet.
        way: of guiding.
        draw: the samples.
        classifier: loads one, as `symadj.guide.goals.Subject` has it.

    Raises:
        InputError: another kind of run, or a goal, a way or a class that does not go with it.
    """

    def __init__(
        self,
        run: TrainedRun,
        goal: Goal,
        way: Way,
        draw: Draw,
        classifier: Callable[[str, str], torch.nn.Module],
    ) -> None:
        parts = run.parts
        if not isinstance(parts.model, Velocity):
            raise InputError(
                f"{run.directory} trained a {type(parts.model).__name__}, which has no velocity "
                "from noise to data; symadj-guide steers the samples of task=flow_matching."
            )
        self.run, self.goal, self.way, self.draw = run, goal, way, draw
        dim = parts.data.dim
        require_memory(
            40 * draw.n * dim * parts.dtype.itemsize,
            f"n={draw.n}: the samples and their states on the way",
            "take fewer",
            parts.device,
        )
        field = GuidedVelocity(parts.model, draw.label, draw.guidance).to(parts.device)
        self.sampler = Sampler(field, parts.integrator)
        generator = torch.Generator(device=parts.device).manual_seed(draw.seed)
        self.x0 = torch.randn(
            draw.n, dim, generator=generator, dtype=parts.dtype, device=parts.device
        )
        goal.bind(subject_of(parts, draw.n, classifier))
        self.uses = way.uses(self.sampler)

    def execute(self, directory: Path, config: Config, asked: Mapping[str, Any]) -> RunRecord:
        """Guides, and leaves record, history, samples and pictures in a directory.

        Args:
            directory: which exists.
            config: of the run, with what was set anew.
            asked: what is recorded beside it, such as goal and way.

        Raises:
            SymadjError, KeyboardInterrupt: what ended it; the record says so too.
        """
        record = self._record(directory, config, asked)
        write_text(directory / CONFIG, to_yaml(config))
        record.save(directory / RECORD)
        recorder = Recorder(self.sampler, self.uses, self.way.keeps_best)
        try:
            before = sampled(self.sampler, self.goal, self.x0)
            record.memory = self._memory()
            with recorder:
                guided = self.way(self.sampler, self.goal, self.x0, recorder)
            self._keep(directory, record, before, guided)
            if self.draw.figures:
                self._draw(directory, before, guided, recorder)
            record.status = Status.OK
        except BaseException as error:
            record.status, record.error = status_of(error), story_of(error)
            raise
        finally:
            record.iterations = len(recorder.rows)
            counts = recorder.stats.as_dict()
            record.evaluations = {name: counts[name] for name in COUNTS[:4]}
            record.steps = {name: counts[name] for name in COUNTS[4:]}
            record.seconds = {"iteration": quartiles([row["seconds"] for row in recorder.rows])}
            record.seconds["total"] = recorder.wall
            record.finished = now()
            write_text(directory / HISTORY, recorder.frame().to_csv(index=False))
            record.save(directory / RECORD)
        return record

    def _record(self, directory: Path, config: Config, asked: Mapping[str, Any]) -> RunRecord:
        parts, data = self.run.parts, self.run.parts.data
        sizes = {split: len(getattr(data, split)) for split in ("train", "val", "test")}
        about = {"name": data.name, "dim": data.dim, "note": data.note}
        return RunRecord(
            name=directory.name,
            kind="guide",
            started=now(),
            config={**config, **asked},
            environment=dict(environment(parts.device)),
            data={**about, **sizes, **describe_file(data)},
            model={"name": type(parts.model).__name__, "parameters": parts.parameter_count()},
            solver=parts.integrator.solver.method,
            grad=parts.integrator.gradient.name,
            seed=self.draw.seed,
        )

    def _memory(self) -> dict[str, Any] | None:
        """The peak of one gradient, as a record has it; None where the run metered nothing."""
        parts = self.run.parts
        meter = self.run.settings.measure.meter(
            parts.device, compiled=parts.integrator.solver.compile
        )
        if meter is None:
            return None
        self.sampler.integrator.take_stats()
        with meter:
            self.way.once(self.sampler, self.goal, self.x0)
        kept = self.sampler.integrator.take_stats().checkpoint_bytes
        return {
            "meter": meter.name,
            "peak_bytes": meter.peak_bytes,
            "checkpoints_bytes": kept,
            "reserved_bytes": meter.reserved_bytes,
        }

    def _keep(self, directory: Path, record: RunRecord, before: Guided, guided: Guided) -> None:
        """The metrics, and the samples in the space that the model was trained in."""
        for name, found in (("before", before), ("after", guided)):
            record.metrics[f"loss/{name}"] = float(found.losses.mean())
            with torch.no_grad():
                for metric, values in self.goal.metrics(found.x1).items():
                    record.metrics[f"{metric}/{name}"] = float(values.mean())
            arrays = found.x1.cpu().numpy()
            write_atomically(
                directory / f"{name}.npy", lambda file, arrays=arrays: np.save(file, arrays)
            )
        if self.way.moves_weights:
            state = {"iteration": self.run.iteration, "model": self.run.parts.model.state_dict()}
            write_atomically(directory / BEST, lambda file: torch.save(state, file))

    def _draw(self, directory: Path, before: Guided, guided: Guided, recorder: Recorder) -> None:
        figures = self._figures(before, guided) | {"loss": loss_over_uses(recorder.frame())}
        folder = subfolder(directory, PLOTS)
        for stem, figure in figures.items():
            write_atomically(
                folder / f"{stem}.png",
                lambda file, figure=figure: figure.savefig(file, dpi=150, format="png"),
            )

    def _figures(self, before: Guided, guided: Guided) -> dict[str, Figure]:
        data = self.run.parts.data
        if data.image_shape is not None:
            given, truth = self.goal.target(), self.goal.truth()
            sheets = {"before": data.to_images(before.x1), "given": given}
            sheets |= {"after": data.to_images(guided.x1), "truth": truth}
            shown = [(k, v.cpu().float().numpy()) for k, v in sheets.items() if v is not None]
            ways = [
                (title, _images(data, found.path), found.times.tolist())
                for title, found in (("unguided", before), ("guided", guided))
            ]
            return {
                "before_after": image_sheets(shown),
                "states": states_on_the_way(ways),
            }
        if data.dim < 2:
            return {}
        point = self.goal.point[:2] if isinstance(self.goal, Target) else None
        unguided, after = (found.path[..., :2].cpu().numpy() for found in (before, guided))
        names = data.columns or ("x1", "x2")
        points = data.test[:3000, :2].numpy()
        figure = trajectories(points, unguided, after, point, (names[0], names[1]))
        return {"trajectories": figure}


class Recorder:
    """Notes every use of the gradient, and shows it: a bar on a terminal.

    Args:
        sampler: whose solves are counted.
        uses: how many there will be.
        keeps_best: whether a sample stays where its loss was least.

    Attributes:
        rows: of history.csv.
        stats: the sum of all counts.
        wall: seconds since the beginning.
    """

    def __init__(self, sampler: Sampler, uses: int, keeps_best: bool = False) -> None:
        self.sampler, self.uses, self.keeps_best = sampler, uses, keeps_best
        self._least = torch.tensor(torch.inf)
        self.rows: list[dict[str, Any]] = []
        self.stats = SolveStats()
        self.wall = 0.0

    def __enter__(self) -> Recorder:
        self.sampler.integrator.take_stats()
        self._progress = Progress(self.uses, 0, "loss")
        self._started = time.perf_counter()
        self._watch: Stopwatch | None = None
        return self

    def __exit__(self, *_: object) -> None:
        self.stats += self.sampler.integrator.take_stats()
        self.wall = time.perf_counter() - self._started
        with contextlib.suppress(OSError):
            self._progress.close()

    def __call__(self, number: int, losses: Tensor) -> None:
        """A gradient was taken at samples of these losses [B]."""
        if self._watch is None:
            self._watch, seconds = Stopwatch(losses.device), time.perf_counter() - self._started
        else:
            seconds = self._watch.lap()
        stats = self.sampler.integrator.take_stats()
        self.stats += stats
        loss, least, most = (float(v) for v in (losses.mean(), losses.min(), losses.max()))
        wall = time.perf_counter() - self._started
        counts = stats.as_dict()
        self._least = torch.minimum(self._least.to(losses), losses)
        kept = float(self._least.mean()) if self.keeps_best else math.nan
        row = {"iteration": number, "wall": wall, "loss": loss, "loss_least": least}
        row |= {"loss_most": most, "loss_kept": kept, "seconds": seconds}
        self.rows.append(row | {name: counts[name] for name in COUNTS})
        self._progress.iteration(Row(number, wall, loss, seconds, stats, lr=math.nan))

    def frame(self) -> pd.DataFrame:
        """history.csv."""
        head = ("iteration", "wall", "loss", "loss_least", "loss_most", "loss_kept", "seconds")
        return pd.DataFrame(self.rows, columns=[*head, *COUNTS])


def subject_of(parts: Parts, n: int, classifier: Callable[[str, str], torch.nn.Module]) -> Subject:
    """The samples of a run as goals see them; the first rows of the test split are the references,
    again and again where there are fewer than n."""
    data = parts.data
    rows = torch.arange(n) % len(data.test)
    return Subject(
        dim=data.dim,
        references=parts.place(data.test[rows]),
        name=data.name,
        classes=data.classes or 0,
        images=None if data.image_shape is None else data.pixels,
        classifier=classifier,
    )


def _images(data: Any, path: Tensor) -> Any:
    """The images [T, n, height, width] of states [T, n, dim]."""
    return torch.stack([data.to_images(x) for x in path]).cpu().float().numpy()
