"""Starts the ranks of `devices=N` on this machine, and sees to it that all of them end."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import Store
from torch.multiprocessing.spawn import start_processes

from symadj import errors
from symadj.config.schema import Config, RunSettings
from symadj.errors import InputError, RankFailed, StorageError, SymadjError
from symadj.memory import memory_kills
from symadj.records.record import RunRecord, close_record
from symadj.records.status import status_of, story_of
from symadj.run.allocator import keep_freed_memory
from symadj.run.interrupt import Interrupted
from symadj.run.process import main_unseen
from symadj.run.ranks import (
    STORE,
    check_share,
    device_of,
    file_store,
    group_store,
    told_first,
)

GRACE = 20.0
"""Seconds that the other ranks have to end once one of them has died."""
_ENDING = "ending"
_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


def train_on_devices(
    config: Config,
    settings: RunSettings,
    directory: Path,
    watch: Callable[[int, float], bool] | None = None,
) -> RunRecord:
    """Trains in a process for every device, the first of which keeps the run's directory.

    Signals go on to all of them. A rank that dies ends the others, and the record says so.

    Args:
        config: the resolved configuration.
        settings: the same, typed.
        directory: of the run.
        watch: as `symadj.run.train.train` takes it; it is pickled.

    Returns:
        The record of the first rank.

    Raises:
        InputError, KeyboardInterrupt: as `symadj.run.train.train`.
        SymadjError: a mistake in the code, whose traceback the ranks have printed.
    """
    with tempfile.TemporaryDirectory(prefix="symadj-") as folder:
        path = f"{folder}/store"
        kills = memory_kills()
        threads = torch.get_num_threads()
        arguments = (config, str(directory), path, settings.devices, threads, watch)
        with main_unseen():
            context = start_processes(_serve, arguments, nprocs=settings.devices, join=False)
        assert context is not None
        store = file_store(path)
        with _forwarding(context.processes) as received:
            death = _ended(context.processes, group_store(store), kills)
        if store.check([_ENDING]):
            return _outcome(json.loads(store.get(_ENDING)), received)
    error = death or RankFailed("the run was cut off")
    record = close_record(directory, config, status_of(error), story_of(error))
    if received:
        raise Interrupted(received[0])
    return record


def check_devices(settings: RunSettings) -> None:
    """Refuses, before anything is started, what cannot be shared among `settings.devices`.

    Raises:
        InputError: not so many GPUs, or rows in a batch.
    """
    if not (dist.is_available() and dist.is_gloo_available()):
        raise InputError(
            f"devices={settings.devices}, and this build of torch cannot share a training among "
            "processes; take devices=1."
        )
    check_share(settings, settings.devices)
    device_of(settings.device, settings.devices - 1)


def _serve(
    rank: int,
    config: Config,
    directory: str,
    store: str,
    devices: int,
    threads: int,
    watch: Callable[[int, float], bool] | None,
) -> None:
    """One rank's process; what became of the run, the first one leaves in the store."""
    from symadj.run.train import train

    # Ctrl-C in a terminal reaches the process that waits for this one, and comes from there.
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)
    local = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": devices, "LOCAL_WORLD_SIZE": devices}
    os.environ |= {name: str(number) for name, number in local.items()} | {STORE: store}
    if sys.platform == "linux":
        # Nobody from outside takes part.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(max(1, threads // devices))
    keep_freed_memory()
    failed = True
    try:
        record = train(config, directory=Path(directory), watch=watch)
        ending = {"record": record.to_json()}
        failed = record.status.failed
    except Interrupted as stop:
        ending = {"signal": stop.signum}
    except Exception as error:
        ending = {"type": type(error).__name__, "message": str(error)}
        if not isinstance(error, SymadjError):
            traceback.print_exc()
    if rank == 0:
        file_store(store).set(_ENDING, json.dumps(ending))
    sys.exit(failed)


@contextmanager
def _forwarding(processes: list[Any]) -> Iterator[list[int]]:
    """Sends the signals that end a run, or ask for a checkpoint, on to all ranks.

    Yields:
        Those that have come to end the run.
    """
    received: list[int] = []

    def forward(signum: int, frame: FrameType | None) -> None:
        if signum != getattr(signal, "SIGUSR1", None):
            received.append(signum)
        for process in processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signum)

    former = {}
    if threading.current_thread() is threading.main_thread():
        for name in _FORWARDED:
            signum = getattr(signal, name, None)
            if signum is not None and signal.getsignal(signum) is not signal.SIG_IGN:
                former[signum] = signal.signal(signum, forward)
    try:
        yield received
    finally:
        for signum, handler in former.items():
            signal.signal(signum, handler)


def _ended(processes: list[Any], store: Store, kills: int) -> RankFailed | None:
    """Waits for all ranks; why the first one that ended badly did so.

    The others have a while then, and are told: they notice by themselves, unless they are in a long
    solve or wait on a GPU.

    Args:
        processes: of the ranks.
        store: of the group.
        kills: as `memory_kills` was before.
    """
    death, deadline = None, math.inf
    while True:
        alive = [process for process in processes if process.is_alive()]
        ended = [(p.exitcode, rank) for rank, p in enumerate(processes) if p.exitcode]
        if death is None and ended:
            code, rank = min(ended)
            death, deadline = _death(rank, code, kills), time.monotonic() + GRACE
            if code < 0:
                told_first(store, rank, death)
        if not alive:
            return death
        if time.monotonic() > deadline:
            for process in alive:
                process.kill()
        wait([process.sentinel for process in alive], 0.2)


def _outcome(ending: dict[str, Any], received: list[int]) -> RunRecord:
    """What the first rank's call of `train` came to, here once more."""
    if "record" in ending:
        return RunRecord.from_json(ending["record"])
    if "signal" in ending:
        raise Interrupted(received[0] if received else ending["signal"])
    kind = getattr(errors, ending["type"], SymadjError)
    if issubclass(kind, (InputError, RankFailed, StorageError)):
        raise kind(ending["message"])
    raise SymadjError(f"{ending['type']}: {ending['message']}")


def _death(rank: int, code: int, kills: int) -> RankFailed:
    if code >= 0:
        return RankFailed(f"rank {rank} failed; standard error says more", "error")
    name = signal.Signals(-code).name
    if code == -signal.SIGKILL and memory_kills() > kills:
        return RankFailed(f"the system ran out of memory and killed rank {rank}", "oom")
    return RankFailed(f"rank {rank} was killed by {name}")
