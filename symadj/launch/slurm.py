"""Jobs as jobs of Slurm, by submitit.

Slurm ends a job whose place or time is needed by SIGTERM, or by a signal of its own beforehand. The
job's process saves and ends then, and the same job is queued again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from symadj.errors import InputError
from symadj.launch.cluster import TICK, ClusterLauncher, Errand, left
from symadj.launch.index import claimed, lock_of
from symadj.launch.job import Job, Outcome
from symadj.launch.launcher import Unusable
from symadj.launch.run import died
from symadj.packages import need
from symadj.ranges import require
from symadj.records.status import Status, status_of, story_of
from symadj.run.process import GRACE, Ending
from symadj.units import parse_bytes

_CLUSTERS = ("slurm", "local")
_MOST = 100_000
_REQUEUES = 1_000
"""So often a job goes on that its time was too short for."""


class SlurmLauncher(ClusterLauncher):
    """Runs every job as one of Slurm's, which has to see this directory as it is here.

    Args:
        workers: jobs in the queue or running at once; None: all.
        retries: of a job whose process died or ran out of memory, from its checkpoint.
        partition: of the cluster; None: its default.
        time: minutes that a job may run before it is queued again.
        cpus: processors of a job, and threads where its configuration does not say `threads`.
        gpus: devices of a job.
        memory: of a job; None: the cluster's default.
        notice: seconds before the end of its time at which a job is told.
        options: further options of sbatch by their long names: {"account": "mine"}.
        cluster: "slurm", or "local": processes on this machine as submitit starts them, to see
            whether a sweep would run.
    """

    def __init__(
        self,
        workers: int | None = 16,
        retries: int = 0,
        partition: str | None = None,
        time: int = 60,
        cpus: int = 1,
        gpus: int = 0,
        memory: int | str | None = None,
        notice: int = 120,
        options: dict[str, Any] | None = None,
        cluster: str = "slurm",
    ) -> None:
        given = {"workers": workers, "retries": retries, "time": time, "cpus": cpus}
        require("launcher", **given, gpus=gpus, memory=memory, notice=notice)
        if cluster not in _CLUSTERS or gpus != int(gpus):
            raise InputError(
                f"launcher.cluster={cluster}, launcher.gpus={gpus}; cluster must be one of "
                f"{', '.join(_CLUSTERS)}, and gpus a whole number."
            )
        super().__init__(retries, cpus)
        self.workers = _MOST if workers is None else workers
        os.environ.setdefault("SUBMITIT_LOG_LEVEL", "ERROR")
        self._submitit = need("submitit", "slurm", "starts the jobs of launcher=slurm")
        self._cluster = cluster
        self._parameters: dict[str, Any] = {
            "name": "symadj",
            "timeout_min": time,
            "cpus_per_task": cpus,
            "slurm_signal_delay_s": notice,
            "slurm_additional_parameters": {"requeue": True, **(options or {})},
        }
        if gpus:
            self._parameters["gpus_per_node"] = int(gpus)
        if memory is not None:
            self._parameters["mem_gb"] = parse_bytes(memory) / 2**30
        if partition is not None:
            self._parameters["slurm_partition"] = partition
        self._executors: dict[Path, Any] = {}
        self._asking = threading.Lock()

    def start(self) -> None:
        """Looks for the commands of Slurm."""
        if self._cluster == "slurm" and shutil.which("srun") is None:
            raise Unusable(
                "launcher=slurm: srun is not here; run the command where jobs are submitted, or "
                "try it out on this machine by launcher.cluster=local."
            )

    def follow(self, errand: Errand) -> Outcome:
        """Submits a job and waits for it."""
        with self._asking:
            job = self._executor(errand.job).submit(Preemptible(), errand)
        while not self._done(job):
            if self.ending.wait(TICK):
                job.cancel(check=False)
                _let_go(errand.job)
                return left("cancelled")
        try:
            return job.result()
        except self._submitit.core.utils.UncompletedJobError as error:
            return died(errand.job, Ending(Status.INTERRUPTED, error=story_of(error)))

    def _executor(self, job: Job) -> Any:
        folder = lock_of(job).parent
        if folder not in self._executors:
            # Of this sweep alone: what is read back from it was written for it.
            own = tempfile.mkdtemp(prefix="slurm-", dir=folder.absolute())
            executor = self._submitit.AutoExecutor(
                own, cluster=self._cluster, **{f"{self._cluster}_max_num_timeout": _REQUEUES}
            )
            executor.update_parameters(**self._parameters)
            self._executors[folder] = executor
        return self._executors[folder]

    def _done(self, job: Any) -> bool:
        with self._asking:  # the state of all jobs is asked for by one command, now and then
            return job.done()

    def stop(self) -> None:
        """Removes what the jobs were handed over by."""
        for executor in self._executors.values():
            shutil.rmtree(executor.folder, ignore_errors=True)
        self._executors = {}


def _let_go(job: Job) -> None:
    """Waits until the process of a cancelled job has saved and ended."""
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        with claimed(job) as claim:
            if claim is not None:
                return
        time.sleep(TICK)


class Preempted(BaseException):
    """Slurm needs the place of this job, or its time is over."""

    def __init__(self, signum: int) -> None:
        self.signum = signum
        super().__init__(signal.Signals(signum).name)


class Preemptible:
    """What a job of Slurm calls: runs the errand; ended before that is done, it is queued again."""

    def __call__(self, errand: Errand) -> Outcome:
        """Runs the job to its end.

        Raises:
            SystemExit: Slurm ended it; it has saved what it did.
        """
        from submitit import JobEnvironment

        own = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
        requeue: Any = signal.getsignal(own)  # submitit's
        signals = {signal.SIGTERM, signal.SIGUSR1, own}

        def preempted(signum: int, frame: FrameType | None) -> NoReturn:
            for each in signals:
                signal.signal(each, signal.SIG_IGN)
            raise Preempted(signum)

        if restarts() > 0:
            errand = errand.moved()
        try:
            for each in signals:
                signal.signal(each, preempted)
            return errand.outcome(errand.begin())
        except Preempted as stop:
            if _is_to_go_on():
                requeue(stop.signum, None)
            sys.exit(128 + stop.signum)
        except Exception as error:
            return Outcome(status_of(error), f"{type(error).__name__}: {error}")

    def checkpoint(self, errand: Errand) -> Any:
        """What is queued again: the same."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, errand.moved())


def restarts() -> int:
    """How often Slurm has started this job before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0))


def _is_to_go_on() -> bool:
    """Whether a job that was told to end is to be queued again: not where it was cancelled, nor
    where Slurm does so itself, which both show as a job that does not run any more."""
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return True
    command = ["squeue", "--noheader", "--jobs", number, "--format", "%T"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return True
    return done.returncode != 0 or done.stdout.strip() in ("RUNNING", "")
