"""Where jobs are run: the protocol, and the two launchers that need nothing installed."""

from __future__ import annotations

import gc
import os
from concurrent.futures import Future
from typing import Protocol

import torch

from symadj.errors import InputError
from symadj.launch.index import lock_of
from symadj.launch.job import Job, Outcome
from symadj.launch.run import died, run_job
from symadj.ranges import require
from symadj.run.process import GRACE, Ending, Process


class Unusable(InputError):
    """No job can be started, this one or another: a cluster is not there, or has no room."""


class Launcher(Protocol):
    """Runs jobs somewhere.

    Attributes:
        retries: so often a job is tried again whose process died or ran out of memory.
    """

    retries: int

    @property
    def workers(self) -> int:
        """So many jobs are handed to it at once, at most; it may change while jobs run."""
        ...

    def submit(self, job: Job) -> Future[Outcome]:
        """Starts a job; the future never raises but for a mistake in the launcher.

        Raises:
            Unusable: no job can be started.
        """
        ...

    def close(self) -> None:
        """Ends what is still running: trainings save their checkpoints first."""
        ...


class InlineLauncher:
    """Runs each job in this process when it is submitted, for a debugger.

    Args:
        retries: of a job that ran out of memory.
    """

    workers = 1

    def __init__(self, retries: int = 0) -> None:
        require("launcher", retries=retries)
        self.retries = retries

    def submit(self, job: Job) -> Future[Outcome]:
        """Runs the job to its end.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the job has saved what it did.
        """
        future: Future[Outcome] = Future()
        future.set_result(run_job(job))
        _let_go()
        return future

    def close(self) -> None:
        """Nothing runs any more."""


class ProcessLauncher:
    """Runs every job in a process of its own on this machine.

    Threads and CUDA devices are divided: each of w workers gets 1/w of the processor's threads,
    unless the configuration says `threads`, and every w-th device.

    Args:
        workers: jobs at once; None: one for each CUDA device, or for each processor without any.
        retries: of a job whose process died or ran out of memory, from its checkpoint.
    """

    def __init__(self, workers: int | None = 1, retries: int = 0) -> None:
        require("launcher", workers=workers, retries=retries)
        self.workers = workers or torch.cuda.device_count() or os.cpu_count() or 1
        self.retries = retries
        self._free = list(range(self.workers))[::-1]
        self._running: dict[int, Process] = {}

    def submit(self, job: Job) -> Future[Outcome]:
        """Starts the job's process; what it prints is kept beside its lock."""
        slot = self._free.pop()
        process = Process(
            run_job,
            job,
            output=lock_of(job, ".out"),
            threads=_share(self.workers) if job.config.get("threads") is None else None,
            environment=_devices(slot, self.workers),
        )
        self._running[slot] = process
        future: Future[Outcome] = Future()

        def done(ending: Ending) -> None:
            del self._running[slot]
            self._free.append(slot)
            try:
                future.set_result(ending.value if ending.error is None else died(job, ending))
            except Exception as error:
                future.set_exception(error)

        process.when_done(done)
        return future

    def close(self) -> None:
        """Asks all processes to end, and ends those that do not within some seconds."""
        running = list(self._running.values())
        for process in running:
            process.ask_to_end()
        for process in running:
            process.end(GRACE)


def _share(workers: int) -> int:
    return max(1, (os.cpu_count() or 1) // workers)


def _devices(slot: int, workers: int) -> dict[str, str]:
    """The CUDA devices of a worker, as the environment tells its process."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = given.split(",") if given else [str(i) for i in range(torch.cuda.device_count())]
    if workers == 1 or not names or names == [""]:
        return {}
    own = names[slot::workers] or [names[slot % len(names)]]
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)}


def _let_go() -> None:
    """Frees what a job in this process held, so that the next one's memory is its own."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
