"""What a training step costs: its memory by parts, its seconds, and the settings of both."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError, suggest
from symadj.ode.compiled import compile_seconds
from symadj.ode.stats import SolveStats
from symadj.ranges import check_settings
from symadj.run.meter import METERS, Meter, make_meter
from symadj.run.quartiles import quartiles
from symadj.units import format_bytes, parse_bytes

__all__ = [
    "MeasureSettings",
    "StepMeasurement",
    "Stopwatch",
    "format_bytes",
    "is_out_of_memory",
    "measure_memory",
    "parse_bytes",
    "quartiles",
]

# Where torch raises a plain RuntimeError. The CPU allocator's text depends on the system.
_OUT_OF_MEMORY = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
)


@dataclass
class MeasureSettings:
    """What is measured while training.

    Metered iterations are other iterations than timed ones: a meter slows a step down.

    Attributes:
        memory: which meter reads the peak memory of a training step: auto (the device's own),
            dispatch, profiler, cuda, or none for no metering.
        every: after the warm-up, one iteration in so many is metered, the first one included.
        iterations: at most so many iterations are metered.
        warmup: first iterations that are neither timed nor metered.
        memory_budget: a metered step that needs more (bytes, or as 64MiB) ends the run as out of
            memory; null: no budget.
    """

    memory: str = "auto"
    every: int = 100
    iterations: int = 3
    warmup: int = 1
    memory_budget: str | None = None

    def check(self) -> None:
        """Raises `InputError` for a value out of its range."""
        names = (*METERS, "none")
        if self.memory not in names:
            raise InputError(
                f"unknown meter measure.memory={self.memory!r}.{suggest(self.memory, names)}"
            )
        check_settings("measure", vars(self))
        if self.memory == "none" and self.memory_budget is not None:
            raise IncompatibleError(
                f"measure.memory_budget={self.memory_budget} with measure.memory=none: nothing is "
                "metered, so nothing keeps the budget. Take measure.memory=auto, or leave the "
                "budget out."
            )

    def meters(self, iteration: int) -> bool:
        """Whether this iteration, the first being 1, is metered."""
        turn, rest = divmod(iteration - self.warmup - 1, self.every)
        return self.memory != "none" and rest == 0 and 0 <= turn < self.iterations

    def times(self, iteration: int) -> bool:
        """Whether the seconds of this iteration, the first being 1, enter the statistics."""
        return iteration > self.warmup and not self.meters(iteration)

    def meter(self, device: torch.device, *, compiled: bool = False) -> Meter | None:
        """The meter of these settings, or None for none.

        Args:
            device: whose memory is read.
            compiled: whether steps are compiled: their arrays pass the dispatcher by, so that on a
                CPU the profiler takes its meter's place.

        Raises:
            InputError: a name that cannot be used.
            IncompatibleError: a meter that does not read this device, or not compiled steps.
        """
        name = self.memory
        if name == "none":
            return None
        if compiled and name == "dispatch":
            raise IncompatibleError(
                "measure.memory=dispatch with compile=true: that meter does not see the memory of "
                "compiled steps. Take measure.memory=profiler, or leave it at auto."
            )
        if compiled and name == "auto" and device.type == "cpu":
            name = "profiler"
        budget = None if self.memory_budget is None else parse_bytes(self.memory_budget)
        return make_meter(name, device, budget)


@dataclass(frozen=True)
class StepMeasurement:
    """The memory of one training step, in bytes above what was live before it.

    Attributes:
        meter: which meter made the figures.
        peak_bytes: of forward pass, loss and backward pass.
        outputs_bytes: of the states that the solves returned.
        checkpoints_bytes: of the states that the gradient method kept for the backward pass.
        graph_bytes: the rest of the peak: graph, work space and parameter gradients. (0 where
            outputs and checkpoints are not all live at the peak and add up to more than it.)
        optimizer_bytes: peak of the optimiser's step by itself; None where none was made.
        reserved_bytes: what a CUDA device's allocator took from the device; None on a CPU.
    """

    meter: str
    peak_bytes: int
    outputs_bytes: int
    checkpoints_bytes: int
    graph_bytes: int
    optimizer_bytes: int | None
    reserved_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """The `memory` of a run record."""
        return dataclasses.asdict(self)


def measure_memory(
    forward: Callable[[], Tensor],
    optimizer_step: Callable[[], object] | None,
    meter: Meter,
    integrator_stats: Callable[[], SolveStats],
) -> dict[str, Any]:
    """Makes one training step under a meter, the optimiser's part apart.

    Gradients of an earlier step should be dropped beforehand; those of this step are part of its
    peak, with every gradient method alike.

    Args:
        forward: computes the loss, a scalar with a graph.
        optimizer_step: what follows the backward pass; None: nothing.
        meter: reads both parts; its budget holds for each.
        integrator_stats: called once after the backward pass: the counts of this step's solves.

    Returns:
        The `memory` of a run record: see `StepMeasurement`.

    Raises:
        MemoryBudgetExceeded: a part needs more than the meter's budget.
    """
    with meter:
        forward().backward()
    peak, reserved = meter.peak_bytes, meter.reserved_bytes
    stats = integrator_stats()
    optimizer = None
    if optimizer_step is not None:
        with meter:
            optimizer_step()
        optimizer = meter.peak_bytes
    kept = stats.output_bytes + stats.checkpoint_bytes
    return StepMeasurement(
        meter=meter.name,
        peak_bytes=peak,
        outputs_bytes=stats.output_bytes,
        checkpoints_bytes=stats.checkpoint_bytes,
        graph_bytes=max(0, peak - kept),
        optimizer_bytes=optimizer,
        reserved_bytes=reserved,
    ).as_dict()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: the machine's, the GPU's, or a budget."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)) is not None


class Stopwatch:
    """Seconds between laps, with the device's work finished at each; compilation does not count.

    Args:
        device: whose queued work is waited for; on a CPU there is none.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._last = 0.0
        self.lap()

    def lap(self) -> float:
        """Seconds since the last lap, or since the watch was made."""
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        # What was spent on compiling is not the step's own.
        now = time.perf_counter() - compile_seconds()
        lap, self._last = now - self._last, now
        return lap
