"""Meters of peak memory: what a block needed above what was live when it began.

On a GPU that is the allocator's own counter. A CPU's allocator has none, and the resident size of
the process is no measure of tensors (pages are kept after they are freed, and reused unseen), so
there a meter counts the storages of tensors: *peak live tensor bytes*.
"""

from __future__ import annotations

import abc
import contextlib
import gc
import sys
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import torch
from torch._C._autograd import DeviceType, _profiler_enabled

from symadj.errors import IncompatibleError, InputError, SymadjError, suggest
from symadj.meters.live_bytes import StorageCounter, over_budget

AnyMeter = TypeVar("AnyMeter", bound="Meter")


class Meter(abc.ABC):
    """A context manager that reads the peak memory of its block; usable again and again.

    Every entry starts anew, and what is live at entry is not counted. Gradients of an earlier step
    should be dropped before the block, not inside: the meters differ in how they take that. (What
    is garbage at entry makes no difference: the meters that would notice its end collect it first.)

    Args:
        budget: the most bytes that the block may need; None: no bound.

    Attributes:
        name: which meter made the figures.
        peak_bytes: the most that was live at once in the last block, minus what was live at entry.
        reserved_bytes: what the device's caching allocator took from the device for the last block;
            None on a CPU, which has no such allocator.
    """

    name: ClassVar[str]
    _running: ClassVar[set[object]] = set()

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.peak_bytes = 0
        self.reserved_bytes: int | None = None

    def __enter__(self: AnyMeter) -> AnyMeter:
        slot = self._slot()
        if slot in Meter._running:
            raise SymadjError(
                f"a {self.name} meter is running already and cannot be entered again inside its "
                "own block; meter the two blocks one after the other."
            )
        self.peak_bytes, self.reserved_bytes = 0, None
        Meter._running.add(slot)
        try:
            self._start()
        except BaseException:
            Meter._running.discard(slot)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._stop()
        finally:
            Meter._running.discard(self._slot())
        if error is None and self.budget is not None and self.peak_bytes > self.budget:
            raise over_budget(self.peak_bytes, self.budget, "at the block's peak")

    @abc.abstractmethod
    def live_bytes(self) -> int:
        """Bytes made in the last block that are live now, minus (where seen) old ones freed."""

    @abc.abstractmethod
    def _slot(self) -> object:
        """What only one running meter may hold at a time."""

    @abc.abstractmethod
    def _start(self) -> None: ...

    @abc.abstractmethod
    def _stop(self) -> None:
        """Ends the metering, also after an error in the block, and sets the figures."""


class DispatchMeter(Meter):
    """Peak live tensor bytes on a CPU, counted operator by operator; the default there.

    Equals the profiler's figure up to what a kernel needs within one operator; see
    `StorageCounter` for what counts. The figures are there inside the block too, and
    `live_bytes()` follows the block's storages after it. With a budget, the operator that passes it
    raises `MemoryBudgetExceeded` at once, in the forward or in the backward pass. Functions of
    `torch.compile` run uncompiled in the block; the profiler meter reads them as they are.
    """

    name = "dispatch"

    def __init__(self, budget: int | None = None) -> None:
        self._counter = StorageCounter()
        self._entered = contextlib.ExitStack()
        super().__init__(budget)

    @property
    def peak_bytes(self) -> int:
        return self._counter.peak

    @peak_bytes.setter
    def peak_bytes(self, value: int) -> None:
        self._counter.peak = value

    def live_bytes(self) -> int:
        return self._counter.live

    def _slot(self) -> object:
        return id(self)

    def _start(self) -> None:
        self._counter = StorageCounter(self.budget)
        with contextlib.ExitStack() as entered:
            # No compiler, no compiled functions, and nothing to turn off.
            if "torch._dynamo" in sys.modules and hasattr(torch.compiler, "set_stance"):
                entered.enter_context(torch.compiler.set_stance("force_eager"))
            entered.enter_context(self._counter)
            self._entered = entered.pop_all()

    def _stop(self) -> None:
        self._entered.close()


class ProfilerMeter(Meter):
    """The running sum of all memory events of `torch.profiler`: exact, kernel scratch included.

    It takes seconds for a step of many operators, so it is for an audit of one step. The figures
    are there when the block has ended, and the budget is checked then. Memory from before the block
    that is freed inside it counts nothing on a CPU and negative on a CUDA device.
    """

    name = "profiler"

    def __init__(self, device: torch.device | None = None, budget: int | None = None) -> None:
        super().__init__(budget)
        self.device = device or torch.device("cpu")
        self._profile: torch.autograd.profiler.profile
        self._live = 0

    def live_bytes(self) -> int:
        """Bytes made in the last block that were live at its end, minus old ones freed in it."""
        if self._slot() in Meter._running:
            raise SymadjError("the profiler meter has no figures before its block ends.")
        return self._live

    def _slot(self) -> object:
        return "profiler"

    def _start(self) -> None:
        if _profiler_enabled():
            raise SymadjError("torch's profiler is running already; the profiler meter needs it.")
        gc.collect()
        self._profile = _memory_profile(self.device)
        self._profile.__enter__()

    def _stop(self) -> None:
        self._profile.__exit__(None, None, None)
        self._live = 0
        for nbytes in _memory_changes(self._profile, self.device):
            self._live += nbytes
            self.peak_bytes = max(self.peak_bytes, self._live)


class CudaMeter(Meter):
    """`torch.cuda.max_memory_allocated` minus the value at entry.

    The peak counters are reset and the allocator's cache is emptied at entry, so that nothing
    carries over from an earlier job. The budget is checked when the block has ended.
    """

    name = "cuda"

    def __init__(self, device: torch.device, budget: int | None = None) -> None:
        super().__init__(budget)
        index = torch.cuda.current_device() if device.index is None else device.index
        self.device = torch.device("cuda", index)
        self._allocated = 0
        self._reserved = 0

    def live_bytes(self) -> int:
        return torch.cuda.memory_allocated(self.device) - self._allocated

    def _slot(self) -> object:
        return self.device

    def _start(self) -> None:
        gc.collect()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        self._allocated = torch.cuda.memory_allocated(self.device)
        self._reserved = torch.cuda.memory_reserved(self.device)

    def _stop(self) -> None:
        torch.cuda.synchronize(self.device)
        self.peak_bytes = torch.cuda.max_memory_allocated(self.device) - self._allocated
        self.reserved_bytes = torch.cuda.max_memory_reserved(self.device) - self._reserved


METERS = ("auto", "cuda", "dispatch", "profiler")


def make_meter(
    name: str = "auto", device: torch.device | str = "cpu", budget: int | None = None
) -> Meter:
    """The meter of this name for a device.

    Args:
        name: auto (cuda on a CUDA device, dispatch on a CPU), dispatch, profiler or cuda.
        device: where the metered tensors are.
        budget: the most bytes that a metered block may need; None: no bound.

    Raises:
        InputError: an unknown name, a budget below 1, or a device that no meter reads.
        IncompatibleError: a meter that does not read this device.
    """
    if name not in METERS:
        raise InputError(f"unknown meter {name!r}.{suggest(name, METERS)}")
    if budget is not None and budget < 1:
        raise InputError(f"a memory budget of {budget} bytes; it must be at least 1, or None.")
    device = torch.device(device)
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"no meter reads the device {device}; allowed: cpu, cuda.")
    own = "cuda" if device.type == "cuda" else "dispatch"
    if name == "profiler":
        return ProfilerMeter(device, budget)
    if name not in ("auto", own):
        raise IncompatibleError(
            f"the meter {name!r} does not read the device {device}; take auto, {own} or profiler."
        )
    return CudaMeter(device, budget) if own == "cuda" else DispatchMeter(budget)


def _memory_profile(device: torch.device) -> torch.autograd.profiler.profile:
    on_cuda = "cuda" if device.type == "cuda" else None
    return torch.autograd.profiler.profile(use_device=on_cuda, profile_memory=True)


def _memory_changes(profile: torch.autograd.profiler.profile, device: torch.device) -> list[int]:
    """Bytes allocated (freed ones negative) on a device, in the order of time."""
    wanted = DeviceType.CUDA if device.type == "cuda" else DeviceType.CPU
    results: Any = profile.kineto_results
    events = [
        event
        for event in results.events()
        if event.name() == "[memory]" and event.device_type() == wanted
    ]
    return [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
