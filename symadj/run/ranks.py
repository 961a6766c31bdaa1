"""The processes of one training: one alone, or a rank on every device, in step with each other.

Every rank draws the same batches and noise and takes its share of the rows; the gradients of all
shares are summed by DistributedDataParallel, so that all ranks take the same step of the optimiser.
The first rank keeps the files and does all the talking. What one rank is told from outside (a
signal, a limit in time) all of them act upon after the same iteration, and one that fails says why
before it goes, so that no rank waits for another that will not come.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from symadj.config.schema import RunSettings
from symadj.data.base import Batch, batch_size, map_batch
from symadj.errors import InputError, RankFailed
from symadj.ode.stats import SolveStats
from symadj.records.status import status_of
from symadj.run.interrupt import Interrupted, InterruptGuard
from symadj.run.parts import Parts, pick_device
from symadj.share import Share, sharing, summed

Value = TypeVar("Value")
Memory = dict[str, Any]

TIMEOUT = timedelta(minutes=30)
"""A rank that waits so long for another one gives up."""
PATIENCE = 3.0
"""Seconds in which the reason of a lost rank is waited for."""
STORE = "SYMADJ_STORE"
"""Where the ranks of `devices=N` meet: a file; those of torchrun meet at its own address."""
_FAILED = "failed"
_LOST = re.compile(r"gloo|nccl|connection (reset|closed|refused)|broken pipe|socket", re.IGNORECASE)
_numbers = itertools.count()


class Ranks(Protocol):
    """What a training asks of the processes that it runs in.

    Attributes:
        devices: how many there are.
        leads: whether this one keeps the files.
    """

    devices: int
    leads: bool

    def own(self, settings: RunSettings) -> RunSettings:
        """The settings with this process's device and its share of the threads."""
        ...

    def together(self, guard: InterruptGuard) -> AbstractContextManager[object]:
        """What the processes do together; afterwards each is on its own.

        Raises:
            RankFailed: another one has failed in it, or was lost.
        """
        ...

    def held(self, guard: InterruptGuard) -> AbstractContextManager[object]:
        """Holds signals back, where all processes act upon them at once, in `agree`."""
        ...

    def objective(self, parts: Parts) -> Callable[[Batch], Tensor]:
        """Maps a whole batch to this process's part of its loss, whose backward pass leaves the
        gradient of the whole loss in all of them."""
        ...

    def total(self, loss: Tensor) -> float:
        """The loss of the whole batch."""
        ...

    def most(self, stats: SolveStats) -> SolveStats:
        """The counts of the process that has counted most, count by count."""
        ...

    def hungriest(self, memory: Memory) -> Memory:
        """The memory of the process that has needed most."""
        ...

    def agree(self, wall: float, guard: InterruptGuard) -> float:
        """The longest time, after every iteration; signals of one process reach all of them.

        Raises:
            Interrupted: one of them was asked to end.
        """
        ...

    def first(self, value: Value) -> Value:
        """The first process's value."""
        ...


class Alone:
    """One process, which has nobody to ask."""

    devices = 1
    leads = True

    def own(self, settings: RunSettings) -> RunSettings:
        """As they are."""
        return settings

    def together(self, guard: InterruptGuard) -> AbstractContextManager[object]:
        """Nothing to be done."""
        return contextlib.nullcontext()

    def held(self, guard: InterruptGuard) -> AbstractContextManager[object]:
        """Nothing is held back: signals reach into a solve."""
        return contextlib.nullcontext()

    def objective(self, parts: Parts) -> Callable[[Batch], Tensor]:
        """The task's loss."""
        return lambda batch: parts.task.loss(parts.model, batch, parts.integrator)

    def total(self, loss: Tensor) -> float:
        """Its value."""
        return float(loss.detach())

    def most(self, stats: SolveStats) -> SolveStats:
        """As they are."""
        return stats

    def hungriest(self, memory: Memory) -> Memory:
        """As it is."""
        return memory

    def agree(self, wall: float, guard: InterruptGuard) -> float:
        """As it is."""
        return wall

    def first(self, value: Value) -> Value:
        """As it is."""
        return value


class Together:
    """One of several ranks, each a process with a device of its own.

    The environment says which one, in torchrun's names: RANK, WORLD_SIZE, LOCAL_RANK,
    LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT. They talk by gloo on CPUs, by nccl on GPUs.

    Args:
        settings: of the run.

    Raises:
        InputError: no such device, a number of ranks that is not `devices`, or a process group
            that is there already.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.rank, self.devices = _number("RANK"), _number("WORLD_SIZE")
        self.leads = self.rank == 0
        self._check(settings)
        self.device = device_of(settings.device, _number("LOCAL_RANK", self.rank))
        self._store: Store
        self._wrapped: DistributedDataParallel | None = None

    def _check(self, settings: RunSettings) -> None:
        if settings.devices not in (1, self.devices):
            raise InputError(
                f"devices={settings.devices} under a launcher that has started {self.devices} "
                "processes: leave devices out, or start the command without torchrun."
            )
        if dist.is_initialized():
            raise InputError(
                "a process group of torch.distributed is there already; a run on many devices "
                "makes its own. Call torch.distributed.destroy_process_group() first."
            )
        check_share(settings, self.devices)

    def own(self, settings: RunSettings) -> RunSettings:
        """This rank's device, and the threads divided by the ranks of this machine."""
        threads = settings.threads
        if threads is not None:
            threads = max(1, threads // _number("LOCAL_WORLD_SIZE", self.devices))
        return dataclasses.replace(settings, device=str(self.device), threads=threads)

    @contextmanager
    def together(self, guard: InterruptGuard) -> Iterator[None]:
        """Within it a rank that fails tells the others, and they end for its reason."""
        self._join()
        try:
            yield
        except BaseException as error:
            with guard.critical():
                cause = self._cause(error)
                # What ends the run is known: a signal that came meanwhile says nothing more.
                guard.take()
            if cause is error:
                raise
            raise cause from error
        finally:
            self._leave()

    def _join(self) -> None:
        self._store = group_store(_meeting_place(), next(_numbers))
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(self.device)
        dist.init_process_group(
            "nccl" if on_gpu else "gloo",
            store=self._store,
            rank=self.rank,
            world_size=self.devices,
            timeout=TIMEOUT,
        )

    def _leave(self) -> None:
        # A reducer that is the last to hold the group waits for the group's threads, without giving
        # up the interpreter's lock, which those may wait for in turn. So it goes before the group.
        if self._wrapped is not None:
            self._wrapped.reducer = self._wrapped.logger = None  # pyright: ignore
        dist.destroy_process_group()

    def held(self, guard: InterruptGuard) -> AbstractContextManager[object]:
        """Signals and alarms wait: a rank that left a solve would leave the others in theirs."""
        return guard.critical()

    def objective(self, parts: Parts) -> Callable[[Batch], Tensor]:
        """The weighted loss of this rank's rows, under DistributedDataParallel.

        A loss is a mean over the batch: shares are weighted by their rows, and the gradients are
        summed, not averaged, so that every number in the backward pass is that of one process.
        """
        placed = [self.device] if self.device.type == "cuda" else None
        self._wrapped = wrapped = DistributedDataParallel(
            _Objective(parts, self.rank, self.devices),
            device_ids=placed,
            gradient_as_bucket_view=True,
            static_graph=True,
        )
        wrapped.register_comm_hook(None, _sum_bucket)
        return wrapped

    def total(self, loss: Tensor) -> float:
        """The sum of all shares' weighted losses."""
        return float(summed(loss.double()))

    def most(self, stats: SolveStats) -> SolveStats:
        """By one reduction of all counts."""
        counts = stats.as_dict()
        largest = self._largest(list(counts.values()))
        return SolveStats(**{name: int(n) for name, n in zip(counts, largest, strict=True)})

    def hungriest(self, memory: Memory) -> Memory:
        """By the peak of forward and backward pass."""
        everyone: list[Any] = [None] * self.devices
        dist.all_gather_object(everyone, memory)
        return max(everyone, key=lambda one: one["peak_bytes"])

    def agree(self, wall: float, guard: InterruptGuard) -> float:
        """By one reduction."""
        told = self._largest([wall, guard.take(), guard.checkpoint_asked])
        guard.checkpoint_asked = bool(told[2])
        if told[1]:
            raise Interrupted(int(told[1]))
        return told[0]

    def first(self, value: Value) -> Value:
        """Broadcast; what the others have given is not looked at."""
        box = [value if self.leads else None]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]  # pyright: ignore[reportReturnType]

    def _largest(self, numbers: list[Any]) -> list[float]:
        told = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(told, op=dist.ReduceOp.MAX)
        return told.tolist()

    def _cause(self, error: BaseException) -> BaseException:
        """Why this rank ends: by its own error, which the others are told, or by another's."""
        if not _says_lost(error):
            story = told_first(self._store, self.rank, error)
            overtaken = isinstance(error, Interrupted) and story["type"] != type(error).__name__
            return self._failure(story) if overtaken else error
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(RuntimeError):  # the store may be lost as well
                if self._store.check([_FAILED]):
                    return self._failure(json.loads(self._store.get(_FAILED)))
            time.sleep(0.05)
        return RankFailed(f"another of the {self.devices} ranks was lost: {error}")

    def _failure(self, story: dict[str, Any]) -> RankFailed:
        text = story["message"]
        if story["type"] != RankFailed.__name__:
            text = f"rank {story['rank']} of 0 to {self.devices - 1}: {story['type']}: {text}"
        return RankFailed(text, story["status"])


class _Objective(nn.Module):
    """Maps a batch to the weighted loss of a rank's share: what DistributedDataParallel wraps."""

    def __init__(self, parts: Parts, rank: int, devices: int) -> None:
        super().__init__()
        self.model = parts.model
        self._loss = parts.task.loss
        self._integrator = parts.integrator
        self._rank, self._devices = rank, devices

    def forward(self, batch: Batch) -> Tensor:
        share = Share.of(batch_size(batch), self._rank, self._devices)
        with sharing(share):
            own = map_batch(share.cut, batch)
            return self._loss(self.model, own, self._integrator) * share.weight


# DistributedDataParallel compares annotations as objects, and here they would be texts.
def _sum_bucket(state, bucket):
    work = dist.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def ranks_of(settings: RunSettings) -> Ranks:
    """The ranks that this process is one of: those of a launcher, or itself alone.

    Raises:
        InputError: as `Together`.
    """
    return Together(settings) if is_rank() else Alone()


def is_rank() -> bool:
    """Whether a launcher has started this process as one of several: torchrun, or symadj itself."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def check_share(settings: RunSettings, devices: int) -> None:
    """Raises `InputError` where a batch has not a row for every rank."""
    if settings.train.batch_size < devices:
        raise InputError(
            f"train.batch_size={settings.train.batch_size} cannot be shared by {devices} devices; "
            f"take a batch of {devices} or more, or fewer devices."
        )


def device_of(name: str, local_rank: int) -> torch.device:
    """The device of a rank: the CPU, or the GPU of the rank's number on its machine.

    Raises:
        InputError: no such device, or the name of one GPU.
    """
    device = pick_device(name)
    if device.type == "cpu":
        return device
    if device.index is not None:
        raise InputError(f"device={name} is one GPU; with several devices take device=cuda.")
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise InputError(
            f"{local_rank + 1} devices or more are asked for, and this machine has {count} GPUs "
            "that torch can use; take fewer devices, or device=cpu."
        )
    return torch.device("cuda", local_rank)


def group_store(store: Store, number: int = 0) -> Store:
    """What the ranks of a process's so-manyth training write for each other."""
    return PrefixStore(f"symadj/{number}", store)


def told_first(store: Store, rank: int, error: BaseException) -> dict[str, Any]:
    """Tells the other ranks of a failure; what was told first, which may be another one's."""
    story = {
        "rank": rank,
        "status": status_of(error),
        "type": type(error).__name__,
        "message": str(error),
    }
    with contextlib.suppress(RuntimeError):
        return json.loads(store.compare_set(_FAILED, "", json.dumps(story)))
    return story


def _says_lost(error: BaseException) -> bool:
    """Whether an exception says that another rank did not answer."""
    return isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def file_store(path: str) -> Store:
    """Where processes of one machine meet: a file that only they can reach."""
    return dist.FileStore(path, -1)  # pyright: ignore[reportPrivateImportUsage]


def _meeting_place() -> Store:
    if path := os.environ.get(STORE):
        return file_store(path)
    store, _, _ = next(rendezvous("env://", timeout=TIMEOUT))
    return store


def _number(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise InputError(f"the environment variable {name} is {text!r}; a number is needed.")
    return int(text)
