"""The settings of a run that belong to no plug-in: typed; `symadj.ranges` has their ranges.

Hydra merges every configuration onto these dataclasses, so that a misspelt name or a wrong type is
refused while the configuration is composed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from omegaconf import MISSING

from symadj.errors import IncompatibleError, InputError, suggest
from symadj.meters.meter import METERS, Meter, make_meter
from symadj.ranges import check_settings
from symadj.units import parse_bytes

DTYPES = ("float32", "float64")


@dataclass
class TrainSettings:
    """The training loop.

    Attributes:
        steps: training iterations.
        batch_size: samples per iteration.
        eval_every: iterations from one validation to the next.
        eval_batch_size: samples per solve in validation and test.
        max_seconds: wall-clock bound on training; null: none.
        patience: validations without improvement after which training stops; null: never.
        clip: largest norm of the gradient over all parameters; null: not clipped.
        ema: the decay of an exponential moving average of the weights, one step an iteration, which
            is validated, kept as the best and tested in place of the weights; null: none.
        test: whether the best weights are tested in the end, with the exact trace.
        figures: whether plots are drawn in the end.
    """

    steps: int = 1000
    batch_size: int = 200
    eval_every: int = 100
    eval_batch_size: int = 1000
    max_seconds: float | None = None
    patience: int | None = None
    clip: float | None = None
    ema: float | None = None
    test: bool = True
    figures: bool = True


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


@dataclass
class RunSettings:
    """The configuration of `symadj-train` as a whole; the groups are typed by their constructors.

    Attributes:
        seed: of every random number in the run, the data's split included.
        name: of the run directory; null: made of time, overrides and seed.
        out: where run directories are made.
        device: auto (cuda where there is one), cpu, cuda, cuda:1, ...
        dtype: of data and parameters: float32 or float64.
        compile: whether training runs compiled (see `symadj.ode.compiled`); for grad=symplectic.
        threads: of torch on the CPU; null: torch's own choice.
        resume: a run directory whose cut-off training is to be continued.
        launcher: in a sweep, where the jobs run.
        fresh: in a sweep, whether jobs that are finished already are run again, beside those.
        trust: modules that the configuration of a run to resume may name (`--trust MODULE`).
    """

    seed: int = 0
    name: str | None = None
    out: str = "results/runs"
    device: str = "auto"
    dtype: str = "float32"
    compile: bool = False
    threads: int | None = None
    resume: str | None = None
    fresh: bool = False
    trust: list[str] = field(default_factory=list)
    train: TrainSettings = field(default_factory=TrainSettings)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    data: Any = MISSING
    model: Any = MISSING
    task: Any = MISSING
    solver: Any = MISSING
    grad: Any = MISSING
    optim: Any = MISSING
    launcher: Any = None

    def check(self) -> None:
        """Raises `InputError` for a value out of its range, in any of the typed sections."""
        if self.dtype not in DTYPES:
            raise InputError(f"unknown dtype={self.dtype!r}.{suggest(self.dtype, DTYPES)}")
        check_settings("", vars(self))
        check_settings("train", vars(self.train))
        self.measure.check()
