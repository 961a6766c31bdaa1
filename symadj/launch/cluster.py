"""What the launchers of clusters share: a job on another machine, and one thread that follows it.

There a job runs in a process of its own, as `launcher=process` runs it here. The process that the
cluster starts only waits: its signals, its reuse and its memory are no concern of the job's.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass, replace

from symadj.errors import InputError
from symadj.launch.index import lock_of
from symadj.launch.job import Job, Outcome
from symadj.launch.run import died, run_job
from symadj.records.status import Status
from symadj.run.process import GRACE, Process
from symadj.terminal import printable

PATIENCE = 120.0
"""Seconds for which a job that was moved waits for the lock that its former process has held: a
file server lets go of a dead machine's locks after its lease, mostly 90 s."""

TICK = 0.5
"""Seconds from one look at a job to the next."""

_MARGIN = 5.0
"""Seconds for word to come there and back."""


@dataclass(frozen=True)
class Errand:
    """A job for another machine, and what it is to find around it there.

    Attributes:
        job: what is to be done.
        threads: of torch on the CPU; None: the job's configuration says so itself.
        argv, folder, path: of the command: its words, its directory, where it imports from.
        patience: seconds to wait for another process that is at the job.
    """

    job: Job
    threads: int | None
    argv: tuple[str, ...]
    folder: str
    path: tuple[str, ...]
    patience: float = 0.0

    @staticmethod
    def of(job: Job, cpus: int) -> Errand:
        """A job with so many processors for itself, and this command around it."""
        path = tuple(os.path.abspath(place) for place in sys.path)
        threads = cpus if job.config.get("threads") is None else None
        return Errand(job, threads, tuple(sys.argv), os.getcwd(), path)

    def moved(self) -> Errand:
        """The same after its machine was lost or taken away."""
        return replace(self, patience=PATIENCE)

    def begin(self) -> Process:
        """Starts the job on this machine, whose process becomes as the command's.

        Raises:
            InputError: the command's directory is not there.
        """
        try:
            os.chdir(self.folder)
        except OSError as error:
            raise InputError(
                f"{socket.gethostname()} has no {self.folder} ({error.strerror}): a sweep on "
                "several machines needs a directory that all of them share."
            ) from error
        sys.argv[:] = self.argv
        sys.path += [place for place in self.path if place not in sys.path]
        output = lock_of(self.job, ".out")
        return Process(run_job, self.job, self.patience, output=output, threads=self.threads)

    def outcome(self, process: Process) -> Outcome:
        """How the job ended, once it has.

        Raises:
            BaseException: what came to this process meanwhile; the job has saved what it did and
                ended by then.
        """
        ending = process.ending()
        return ending.value if ending.error is None else died(self.job, ending)


def left(words: str) -> Outcome:
    """How a job ended that was asked to."""
    return Outcome(Status.INTERRUPTED, words, again=True)


class ClusterLauncher(ABC):
    """A launcher whose jobs run elsewhere, each followed by a thread here.

    Args:
        retries: of a job whose process died or ran out of memory.
        cpus: for each job.
    """

    def __init__(self, retries: int, cpus: int) -> None:
        self.retries = retries
        self.cpus = cpus
        self.ending = threading.Event()
        self._futures: list[Future[Outcome]] = []

    def submit(self, job: Job) -> Future[Outcome]:
        """Hands the job to the cluster.

        Raises:
            Unusable: there is no cluster to hand it to.
        """
        self.start()
        errand = Errand.of(job, self.cpus)
        future: Future[Outcome] = Future()

        def follow() -> None:
            with suppress(InvalidStateError):  # left behind
                try:
                    future.set_result(self.follow(errand))
                except Exception as error:
                    future.set_exception(error)

        threading.Thread(target=follow, daemon=True, name=printable(job.label)).start()
        self._futures = [f for f in self._futures if not f.done()] + [future]
        return future

    def close(self) -> None:
        """Ends what is still running: trainings save their checkpoints first."""
        self.ending.set()
        try:
            wait(self._futures, GRACE + _MARGIN)
        finally:
            for future in self._futures:
                if not future.done():
                    with suppress(InvalidStateError):
                        future.set_result(left("asked to end, and left behind"))
            self.stop()

    @abstractmethod
    def start(self) -> None:
        """Makes ready for the first job; nothing where that is done.

        Raises:
            Unusable: it cannot.
        """

    @abstractmethod
    def follow(self, errand: Errand) -> Outcome:
        """Runs a job to its end, or asks it to end once `ending` is set."""

    @abstractmethod
    def stop(self) -> None:
        """Lets go of the cluster."""
