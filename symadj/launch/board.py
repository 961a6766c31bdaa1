"""How a sweep stands, while it runs: a live table on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from tqdm import tqdm

from symadj.launch.index import runs_of
from symadj.launch.job import Job, Outcome
from symadj.records.status import Status
from symadj.terminal import complain, printable, say

_SHOWN = 16  # jobs that run, at most, one line each


class Board:
    """Tells of the jobs of a sweep.

    Args:
        total: how many jobs there will be.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._live = sys.stderr.isatty()
        self._running: dict[int, tuple[Job, float]] = {}
        self._ended: list[Outcome] = []
        self._seconds: list[float] = []
        self._best: tuple[float, str] | None = None
        self._lines: list[tqdm] = []

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clear()

    def started(self, number: int, job: Job) -> None:
        """A job has been given to a worker."""
        self._running[number] = job, time.monotonic()
        if not self._live:
            say(f"{self._place(number)} {job.label}")
        self.tick()

    def tried(self, number: int, outcome: Outcome) -> None:
        """A job is tried once more."""
        del self._running[number]
        complain(f"{self._place(number)} {outcome.status}, tried again: {outcome.message}")

    def ended(self, number: int, job: Job, outcome: Outcome) -> None:
        """A job has ended, or was found to be done."""
        _, since = self._running.pop(number, (job, None))
        if since is not None:
            self._seconds.append(time.monotonic() - since)
        self._ended.append(outcome)
        figure = _monitored(outcome)
        if figure is not None and (self._best is None or figure[1] < self._best[0]):
            self._best = figure[1], f"{figure[0]} {figure[1]:.5g} ({job.label})"
        self._clear()
        if outcome.failed:
            what = f": {outcome.message}" if outcome.message else ""
            complain(f"job {number + 1} of {self._total} failed ({outcome.status}){what}")
        elif not self._live:
            said = [str(outcome.status), *([f"{figure[0]} {figure[1]:.5g}"] if figure else [])]
            said += [] if since is None else [_duration(self._seconds[-1])]
            said += [outcome.note] if outcome.note else []
            say(f"{self._place(number)} {job.label}: {', '.join(said)}")
        self.tick()

    def tick(self) -> None:
        """Draws the live table anew."""
        if not self._live:
            return
        texts = [self._summary()]
        for job, since in list(self._running.values())[:_SHOWN]:
            texts.append(f"  {_duration(time.monotonic() - since):>8}  {_progress(job)}{job.label}")
        while len(self._lines) > len(texts):
            self._lines.pop().close()
        while len(self._lines) < len(texts):
            place = len(self._lines)
            self._lines.append(
                tqdm(total=0, position=place, bar_format="{desc}", leave=False, file=sys.stderr)
            )
        for line, text in zip(self._lines, texts, strict=True):
            line.set_description_str(printable(text))

    def _clear(self) -> None:
        """Takes the live table away, for a line that is to stay, or for good."""
        while self._lines:
            self._lines.pop().close()

    def _place(self, number: int) -> str:
        return f"[{number + 1}/{self._total}]"

    def _summary(self) -> str:
        failed = sum(outcome.failed for outcome in self._ended)
        parts = [
            f"{len(self._ended)} of {self._total} jobs done",
            f"{len(self._running)} running",
            *([f"{failed} failed"] if failed else []),
            *([f"best {self._best[1]}"] if self._best else []),
        ]
        if self._seconds and self._running:
            mean = sum(self._seconds) / len(self._seconds)
            left = (self._total - len(self._ended)) * mean / len(self._running)
            parts.append(f"{_duration(left)} left")
        return ", ".join(parts)


def _monitored(outcome: Outcome) -> tuple[str, float] | None:
    """The metric of the validations; lower is better."""
    if outcome.status is not Status.OK:
        return None
    found = ((k, v) for k, v in outcome.metrics.items() if k.startswith("val/"))
    return next(found, None)


def _progress(job: Job) -> str:
    records = [record for run in runs_of(job)[-1:] for record in run.records]
    if job.kind == "bench":
        return f"{len(records)} rows  "
    done = records[0].iterations if records else 0
    return f"{done}/{job.config['train']['steps']} iterations  "


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
