"""A sweep: jobs handed to a launcher, none of which can end it, until all have ended."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Protocol

from symadj.launch.board import Board
from symadj.launch.index import Index
from symadj.launch.job import Job, Outcome
from symadj.launch.launcher import Launcher, Unusable
from symadj.launch.run import finished_before
from symadj.records.status import Status, status_of
from symadj.run.interrupt import InterruptGuard
from symadj.terminal import say

TICK = 1.0
"""Seconds from one look at the jobs that run to the next."""


class Source(Protocol):
    """Where the jobs of a sweep come from.

    Attributes:
        total: how many there will be.
    """

    total: int

    def ask(self) -> Job | None:
        """The next job; None: there is none now. It is asked again when one has ended."""
        ...

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Is told how a job ended that it gave out."""
        ...


class ListedJobs:
    """Jobs that are known beforehand.

    Args:
        jobs: in the order in which they are started.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.total = len(jobs)
        self._left = deque(jobs)

    def ask(self) -> Job | None:
        """The next one."""
        return self._left.popleft() if self._left else None

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Nothing follows from it."""


class Sweep:
    """Runs the jobs of a source.

    Args:
        source: of the jobs.
        launcher: where they run.
        admit: asked before each job starts; a job that is not admitted is left out.

    Attributes:
        ended: the jobs that have ended, and how, in the order in which they were started.
    """

    def __init__(
        self,
        source: Source,
        launcher: Launcher,
        admit: Callable[[Job], bool] = lambda job: True,
    ) -> None:
        self._source = source
        self._launcher = launcher
        self._admit = admit
        self._board = Board(source.total)
        self._jobs: list[Job] = []
        self._outcomes: dict[int, Outcome] = {}
        self._running: dict[Future[Outcome], tuple[int, int]] = {}
        self._closing = False

    @property
    def ended(self) -> list[tuple[Job, Outcome]]:
        return [(self._jobs[i], self._outcomes[i]) for i in sorted(self._outcomes)]

    def run(self) -> list[Outcome]:
        """Runs all jobs; a failed one is reported at once, and the others go on.

        Raises:
            Unusable: the launcher can start no job.
            KeyboardInterrupt: Ctrl-C: all jobs that run have saved what they did and ended.
        """
        with self._board:
            try:
                while self._start() or self._running:
                    self._wait()
            finally:
                # After an interrupt: what ran has its ending in its record.
                self._closing = True
                self._launcher.close()
                for future in list(self._running):
                    self._end(future)
        return [outcome for _, outcome in self.ended]

    def _start(self) -> bool:
        """Starts jobs while there is room; whether it has got any."""
        got = False
        while len(self._running) < self._launcher.workers:
            job = self._source.ask()
            if job is None:
                break
            got = True
            if not self._admit(job):
                continue
            self._jobs.append(job)
            number = len(self._jobs) - 1
            if (outcome := finished_before(job)) is not None:
                self._keep(number, outcome)
            else:
                self._submit(number, tries=0)
        return got

    def _submit(self, number: int, tries: int) -> None:
        job = self._jobs[number]
        self._board.started(number, job)
        try:
            future = self._launcher.submit(job)
        except Unusable:
            raise
        except Exception as error:
            self._keep(number, Outcome(status_of(error), f"{type(error).__name__}: {error}"))
        else:
            self._running[future] = number, tries

    def _wait(self) -> None:
        InterruptGuard.check()
        done, _ = wait(self._running, TICK, FIRST_COMPLETED)
        for future in done:
            self._end(future)
        self._board.tick()

    def _end(self, future: Future[Outcome]) -> None:
        number, tries = self._running.pop(future)
        try:
            # One that does not answer when it is asked to end has been left behind.
            outcome = future.result(timeout=0)
        except Exception as error:
            outcome = Outcome(status_of(error), f"{type(error).__name__}: {error}")
        if outcome.again and tries < self._launcher.retries and not self._closing:
            self._board.tried(number, outcome)
            self._submit(number, tries + 1)
        else:
            self._keep(number, outcome)

    def _keep(self, number: int, outcome: Outcome) -> None:
        self._outcomes[number] = outcome
        self._board.ended(number, self._jobs[number], outcome)
        self._source.tell(self._jobs[number], outcome)


def run_sweep(jobs: Sequence[Job], launcher: Launcher) -> list[Outcome]:
    """Runs the jobs of a list and prints their table, whatever ends it.

    Raises:
        KeyboardInterrupt: Ctrl-C ends the sweep with the jobs in hand.
    """
    sweep = Sweep(ListedJobs(with_former_runs(jobs)), launcher)
    try:
        return sweep.run()
    finally:
        left = [(job, None) for job in jobs[len(sweep.ended) :]]
        say(sweep_table([*sweep.ended, *left]))


def with_former_runs(jobs: Iterable[Job]) -> list[Job]:
    """The jobs with the directories of their earlier runs, which are looked for once."""
    jobs = list(jobs)
    indices = {out: Index(out) for out in {job.out for job in jobs}}
    return [indices[job.out].known(job) for job in jobs]


def sweep_table(jobs: Sequence[tuple[Job, Outcome | None]]) -> str:
    """One line for every job: its status and its overrides."""
    outcomes = [outcome for _, outcome in jobs if outcome is not None]
    counts = {
        "ok": sum(outcome.status is Status.OK for outcome in outcomes),
        "failed": sum(outcome.failed for outcome in outcomes),
    }
    for status, what in ((Status.PRUNED, "pruned"), (Status.RUNNING, "running elsewhere")):
        if number := sum(outcome.status is status for outcome in outcomes):
            counts[what] = number
    lines = [f"sweep: {len(jobs)} jobs, {', '.join(f'{n} {what}' for what, n in counts.items())}"]
    for job, outcome in jobs:
        line = f"  {outcome.status if outcome else 'not run':<13} {job.label}"
        lines.append(f"{line}  ({outcome.note})" if outcome and outcome.note else line)
    return "\n".join(lines)
