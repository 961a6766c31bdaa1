"""Jobs on a Ray cluster, or on one that is started on this machine for the sweep.

A task of Ray runs in the main thread of a worker, but Ray asks it to end by an interrupt that wakes
nothing that waits, blocks SIGINT, and keeps the worker for the next task. So the job runs in a
process of its own, which the task waits for and asks to end.
"""

from __future__ import annotations

import os
import secrets
import signal
from typing import Any

from symadj.errors import InputError
from symadj.launch.cluster import TICK, ClusterLauncher, Errand, left
from symadj.launch.job import Outcome
from symadj.launch.launcher import Unusable
from symadj.launch.run import died
from symadj.packages import need
from symadj.ranges import require
from symadj.records.status import Status, status_of, story_of
from symadj.run.process import Ending
from symadj.terminal import complain
from symadj.units import parse_bytes

_MOVES = 5
"""So often a job goes on elsewhere whose worker or node was lost; the job may be what ends them."""

_STORE = 80 * 2**20
"""Bytes of Ray's object store, which holds jobs and outcomes alone; Ray takes no less."""


class RayLauncher(ClusterLauncher):
    """Runs jobs as tasks of Ray, as many at once as its nodes have room for.

    Args:
        address: "HOST:PORT" of a cluster, or "auto" for the one that this machine belongs to; None:
            one is started on this machine, for the time of the sweep and for it alone.
        workers: jobs at once; None: as many as there is room for.
        retries: of a job whose process died or ran out of memory, from its checkpoint.
        cpus: processors of a job, and threads where its configuration does not say `threads`.
        gpus: CUDA devices of a job; a part of one is shared with other jobs.
        memory: that is set aside for a job; None: nothing is. It bounds how many run on a node.
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        retries: int = 0,
        cpus: int = 1,
        gpus: float = 0,
        memory: int | str | None = None,
    ) -> None:
        require("launcher", workers=workers, retries=retries, cpus=cpus, gpus=gpus, memory=memory)
        super().__init__(retries, cpus)
        if address is not None and "://" in address:
            raise InputError(
                f"address={address}; it must be HOST:PORT, or auto on a machine of the cluster, "
                "where this command has to run."
            )
        if address is None:
            _keep_to_this_machine()
        self._ray = need("ray", "ray", "starts the jobs of launcher=ray")
        self._address = address
        self._workers = workers
        self._needs = {"CPU": cpus, "GPU": gpus}
        if memory is not None:
            self._needs["memory"] = parse_bytes(memory)
        self._task: Any = None
        self._started = False

    @property
    def workers(self) -> int:
        """So many jobs at once: as given, or as the nodes that are there now have room for."""
        if self._workers is not None:
            return self._workers
        return 1 if self._task is None else max(1, self._room())

    def start(self) -> None:
        """Connects to the cluster, or starts one."""
        if self._task is not None:
            return
        if not self._ray.is_initialized():
            self._connect()
        if not self._room():
            self._complain()
        resources = {"num_cpus": self.cpus, "num_gpus": self._needs["GPU"]}
        if "memory" in self._needs:
            resources["memory"] = self._needs["memory"]
        # A worker that is lost is told here, so that the job can be told that it was moved.
        self._task = self._ray.remote(max_retries=0, **resources)(_run)

    def _connect(self) -> None:
        local = {"include_dashboard": False, "object_store_memory": _STORE}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            self._ray.init(
                address=self._address or "local",
                log_to_driver=False,
                logging_level="ERROR",
                **({} if self._address else local),
            )
        except Exception as error:
            where = f"at {self._address} " if self._address else ""
            raise Unusable(
                f"launcher=ray: there is no cluster {where}to run jobs on ({error}). "
                "launcher.address=null starts one on this machine."
            ) from error
        finally:
            signal.signal(signal.SIGTERM, handler)  # Ray's own would end this command at once
        self._started = True

    def _room(self) -> int:
        """How many jobs all nodes together have room for."""
        return sum(
            min(int(node["Resources"].get(name, 0) // needed) for name, needed in self._asked())
            for node in self._ray.nodes()
            if node["Alive"]
        )

    def _asked(self) -> list[tuple[str, float]]:
        return [(name, needed) for name, needed in self._needs.items() if needed]

    def _complain(self) -> None:
        asked = ", ".join(f"{needed:g} {name}" for name, needed in self._asked())
        text = f"launcher=ray: no node has room for a job ({asked})"
        if self._address is None:
            self.stop()
            raise Unusable(f"{text}; ask for less by launcher.cpus, launcher.gpus, launcher.memory")
        complain(f"{text}; they wait for one that has")

    def follow(self, errand: Errand) -> Outcome:
        """Runs a job; where its node is lost it goes on elsewhere from its checkpoint."""
        errors = self._ray.exceptions
        lost: Exception | None = None
        for _ in range(_MOVES):
            try:
                return self._result(self._task.remote(errand))
            except errors.TaskCancelledError:
                return left("asked to end")
            except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError) as e:
                errand, lost = errand.moved(), e
                if self.ending.is_set():
                    break
        assert lost is not None
        return died(errand.job, Ending(Status.INTERRUPTED, error=story_of(lost)))

    def _result(self, task: Any) -> Outcome:
        asked = False
        while not self._ray.wait([task], timeout=TICK)[0]:
            if self.ending.is_set() and not asked:
                self._ray.cancel(task)
                asked = True
        return self._ray.get(task)

    def stop(self) -> None:
        """Ends the cluster that was started here, or the connection to it."""
        if self._started:
            self._ray.shutdown()
        self._task, self._started = None, False


def _keep_to_this_machine() -> None:
    """Before Ray is imported: what is started for this sweep has a password of its own, reports to
    nobody, and hears this machine alone."""
    for name, value in (
        ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0"),  # its word for other addresses than 127.0.0.1
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_AUTH_MODE", "token"),
        ("RAY_AUTH_TOKEN", secrets.token_hex(32)),
    ):
        os.environ.setdefault(name, value)


def _run(errand: Errand) -> Outcome:
    try:
        return errand.outcome(errand.begin())
    except Exception as error:
        return Outcome(status_of(error), f"{type(error).__name__}: {error}")
