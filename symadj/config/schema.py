"""The settings of a run that belong to no plug-in: typed, each with its role.

Hydra merges every configuration onto these dataclasses, so that a misspelt name or a wrong type is
refused while the configuration is composed. `symadj.ranges` has the ranges.

Which runs are the same experiment, what may be changed on a resume or to look at a trained run,
what names a run and what a report takes for incidental follow from the roles.
"""
# ruff: noqa: RUF009 - the calls in the dataclasses make fields

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from enum import Enum
from functools import partial
from typing import Any

import torch
from omegaconf import MISSING

from symadj.errors import IncompatibleError, InputError, suggest
from symadj.meters.meter import METERS, Meter, make_meter
from symadj.ranges import check_settings
from symadj.units import parse_bytes

DTYPES = ("float32", "float64")
CHOICES = ("best", "last")

Config = Mapping[str, Any]
"""A configuration: nested dictionaries and lists of plain values, resolved."""


class Role(Enum):
    """The role of a setting."""

    EXPERIMENT = "what is trained, on what, how"
    EXTENT = "how far a training goes, on which machine, what is measured of it"
    PLACE = "where files are read and written"
    LAUNCH = "how the run is started"

    @property
    def tells_runs_apart(self) -> bool:
        """Whether two runs that differ in such a setting are different experiments."""
        return self in (Role.EXPERIMENT, Role.EXTENT)


def _setting(role: Role, default: Any = MISSING, *, anew: bool = False, **inner: Field[Any]) -> Any:
    """A field of this role.

    Args:
        role: of the setting, and of what lies below it and has none of its own.
        default: its value, or a class or function that makes it.
        anew: whether it may be set anew to look at a trained run: all else made the model what it
            is.
        inner: of a group, the settings of its constructors with roles of their own.
    """
    metadata = {"role": role, "anew": anew, "inner": inner}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


experiment, extent, place, launch = (partial(_setting, role) for role in Role)


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
        choose: the weights that a finished training keeps in best.pt and tests: those that were
            "best" in validation, or the "last" ones.
        test: whether these weights are tested in the end, with the exact trace.
        figures: whether plots are drawn in the end.
    """

    steps: int = extent(1000)
    batch_size: int = experiment(200)
    eval_every: int = experiment(100)
    eval_batch_size: int = extent(1000)
    max_seconds: float | None = extent(None)
    patience: int | None = extent(None)
    clip: float | None = experiment(None)
    ema: float | None = experiment(None)
    choose: str = experiment("best")
    test: bool = extent(True)
    figures: bool = launch(True)


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

    memory: str = extent("auto")
    every: int = extent(100)
    iterations: int = extent(3)
    warmup: int = extent(1)
    memory_budget: str | None = extent(None)

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
        devices: that share every training batch, each by a process of its own (see
            `symadj.run.ranks`).
        threads: of torch on the CPU, all processes together; null: torch's own choice.
        resume: a run directory whose cut-off training is to be continued.
        launcher: in a sweep, where the jobs run.
        search: in a sweep, how the settings of its jobs are searched for; null: all combinations.
        fresh: in a sweep, whether jobs that are finished already are run again, beside those.
        trust: modules that the configuration of a run to resume may name (`--trust MODULE`).
    """

    seed: int = experiment(0)
    name: str | None = place(None)
    out: str = place("results/runs")
    device: str = extent("auto", anew=True)
    dtype: str = experiment("float32", anew=True)
    compile: bool = extent(False)
    devices: int = extent(1)
    threads: int | None = extent(None, anew=True)
    resume: str | None = launch(None)
    fresh: bool = launch(False)
    trust: list[str] = launch(list)
    train: TrainSettings = experiment(TrainSettings)
    measure: MeasureSettings = extent(MeasureSettings)
    data: Any = experiment(path=extent(anew=True), data_dir=place(anew=True))
    model: Any = experiment()
    task: Any = experiment(
        check_tolerance=extent(anew=True),
        check_factor=extent(anew=True),
        likelihood_rows=extent(anew=True),
    )
    solver: Any = experiment(anew=True, compile=extent())
    grad: Any = experiment(offload_dir=place())
    optim: Any = experiment()
    launcher: Any = launch(None)
    search: Any = launch(None)

    def check(self) -> None:
        """Raises `InputError` for a value out of its range, in any of the typed sections."""
        if self.dtype not in DTYPES:
            raise InputError(f"unknown dtype={self.dtype!r}.{suggest(self.dtype, DTYPES)}")
        check_settings("", vars(self))
        if self.train.choose not in CHOICES:
            raise InputError(
                f"unknown train.choose={self.train.choose!r}.{suggest(self.train.choose, CHOICES)}"
            )
        check_settings("train", vars(self.train))
        self.measure.check()


def declared(schema: type) -> dict[str, Field[Any]]:
    """The fields of a schema by their full keys, those of its sections and groups included."""
    found: dict[str, Field[Any]] = {}
    for own in fields(schema):
        section = own.default_factory
        found[own.name] = own
        inner = declared(section) if is_dataclass(section) else own.metadata.get("inner", {})
        found |= {f"{own.name}.{name}": below for name, below in inner.items()}
    return found


# A benchmark's own setting that is no part of it.
_SETTINGS = {**declared(RunSettings), "isolate": launch()}

GROUP_PLACES = tuple(
    k for k in _SETTINGS if "." in k and _SETTINGS[k].metadata["role"] is Role.PLACE
)
"""Settings of the groups that say where files are written."""

SET_ANEW = tuple(key for key, own in _SETTINGS.items() if own.metadata["anew"])
"""What may be set anew to look at a trained run."""


def role(key: str) -> Role:
    """The role of the setting of this full key, or of the nearest section above that has one.

    What no schema names is part of the experiment.
    """
    while key and key not in _SETTINGS:
        key = key.rpartition(".")[0]
    return _SETTINGS[key].metadata["role"] if key else Role.EXPERIMENT


def with_defaults(config: Config, schema: type) -> Config:
    """A configuration in which a setting that is younger than its file has its default."""
    whole = dict(config)
    for name, default in vars(schema()).items():
        if is_dataclass(default):
            whole[name] = with_defaults(config.get(name, {}), type(default))
        elif default != MISSING:
            whole.setdefault(name, default)
    return whole


def below(key: str, name: str) -> bool:
    """Whether a dotted name is this one or lies below it."""
    return key == name or key.startswith(f"{name}.")


def leaves(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Every setting of a configuration of plain values by its full key; an empty section is one."""
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        else:
            found[key] = value

    walk(config, "")
    return found
