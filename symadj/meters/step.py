"""What a training step costs: its memory by parts, its seconds, and the settings of both."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.meters.meter import Meter
from symadj.ode.compiled import compile_seconds
from symadj.ode.stats import SolveStats


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
