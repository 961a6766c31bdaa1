"""The range, unit and meaning of every numeric setting: the one place that knows them.

Constructors check their arguments by `require`, under the arguments' own names. A configuration is
checked by `check_settings`, under full keys such as "solver.rtol".
"""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symadj.errors import InputError
from symadj.units import parse_bytes

HUGE = 10**12
"""The most of anything that is only counted: more would never end."""

WIDE = 10**9
"""The most of anything that is an axis of an array; what memory there is bounds it further."""


@dataclass(frozen=True)
class Range:
    """What a numeric setting may be.

    Attributes:
        meaning: what the number is, to stand before "must be".
        low, high: the bounds.
        whole: whether it is a whole number.
        above, below: whether `low`, `high` are themselves out of the range.
        zero: whether 0 is allowed although `low` is above it.
        null: what null stands for; None: null is not allowed.
        unit: of the number; "": it has none.
        each: whether the setting is a list, and the range that of its entries.
        gaps: whether entries of that list may be null.
        size: whether it is an amount of memory, a text such as 64MiB or bytes.
    """

    meaning: str
    low: float
    high: float
    whole: bool = False
    above: bool = False
    below: bool = False
    zero: bool = False
    null: str | None = None
    unit: str = ""
    each: bool = False
    gaps: bool = False
    size: bool = False

    def check(self, value: object, name: str) -> None:
        """Raises `InputError`, which calls the setting by this name, for a value out of range."""
        if not self._holds(value):
            given = repr(value) if isinstance(value, str) else value
            raise InputError(f"{name}={given}; {self.meaning} must be {self.allowed()}.")

    def allowed(self) -> str:
        """The range in words, to stand behind "must be"."""
        if self.size:
            words = "a size such as 64MiB or 2GB, or a number of bytes, at least 8"
        else:
            words = self._numbers()
        unit = f", in {self.unit}" if self.unit else ""
        null = "" if self.null is None else f", or null: {self.null}"
        entries = f"a list, every entry {'null or ' if self.gaps else ''}" if self.each else ""
        return f"{entries}{words}{unit}{null}"

    def _numbers(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        low, high = self._shown(self.low), self._shown(self.high)
        if self.above:
            bounds = f"above {low} and {'below' if self.below else 'at most'} {high}"
        elif self.below:
            bounds = f"at least {low} and below {high}"
        else:
            bounds = f"from {low} to {high}"
        return f"{'0 or ' if self.zero else ''}{kind} {bounds}"

    def _shown(self, bound: float) -> str:
        return f"{int(bound):,}" if self.whole else f"{bound:g}"

    def _holds(self, value: object) -> bool:
        if value is None:
            return self.null is not None
        if self.each:
            return isinstance(value, (list, tuple)) and all(
                self._inside(v) or (v is None and self.gaps) for v in value
            )
        return self._inside(value)

    def _inside(self, value: object) -> bool:
        if self.size:
            return _is_size(value, int(self.low), int(self.high))
        kind = numbers.Integral if self.whole else numbers.Real
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        number: Any = value
        if self.zero and number == 0:
            return True
        over = number > self.low if self.above else number >= self.low
        under = number < self.high if self.below else number <= self.high
        return bool(over and under)


def _is_size(value: object, low: int, high: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        return False
    try:
        return low <= parse_bytes(value) <= high
    except InputError:
        return False


def _count(meaning: str, low: int = 1, high: int = HUGE, **more: Any) -> Range:
    return Range(meaning, low, high, whole=True, **more)


def _tolerance(meaning: str, smallest: float, high: float, **more: Any) -> Range:
    return Range(meaning, smallest, high, zero=True, **more)


def _length(meaning: str, **more: Any) -> Range:
    return Range(meaning, 1e-12, 1e9, unit="units of t", null="chosen by the solver", **more)


def _seed(what: str) -> Range:
    return _count(f"the seed of {what}", 0, 2**63 - 1)


_SIZE = {"low": 8, "high": 2**62, "size": True}
_SPACING = Range("the distance of grid points", 1e-9, 1e9, null="that of the data, if any")
_HORIZON = _count("the number of intervals in a training window", high=WIDE)
_GRAVITY = Range("the gravity", 1e-3, 1e6, unit="m/s^2")
_WIDTHS = _count("the widths of the hidden layers", high=WIDE, each=True)

RANGES: Mapping[str, Range] = {
    "seed": _seed("the run's random numbers"),
    "threads": _count(
        "the number of torch's threads on the CPU",
        high=4 * (os.cpu_count() or 1),
        null="torch's own choice",
    ),
    "devices": _count("the number of devices that share a batch", high=10**5),
    "search.trials": _count("the number of trials of a search", null="the whole grid"),
    "search.seed": _seed("a search"),
    "search.startup": _count("the number of first trials at random", 0),
    "search.pruner_trials": _count("the number of trials before any is pruned", 0),
    "search.pruner_iterations": _count(
        "the number of iterations before a trial may be pruned", null="its first validation"
    ),
    "search.pruner_factor": _count("the number of trials of which one goes on", 2, 1000),
    "launcher.workers": _count(
        "the number of jobs at once", high=100_000, null="as many as there is room for"
    ),
    "launcher.retries": _count("the number of further tries of a job", low=0, high=1_000),
    "launcher.cpus": _count("the number of processors of a job", high=10_000),
    "launcher.gpus": Range("the number of CUDA devices of a job", 0, 1_000),
    "launcher.memory": Range("the memory of a job", **_SIZE, null="none is asked for"),
    "launcher.time": _count("the time of a job", high=10**6, unit="minutes"),
    "launcher.notice": _count(
        "the time between a job's notice and its end", 0, 10**5, unit="seconds"
    ),
    "train.steps": _count("the number of training iterations"),
    "train.batch_size": _count("the number of samples in an iteration", high=WIDE),
    "train.eval_every": _count("the number of iterations from one validation to the next"),
    "train.eval_batch_size": _count("the number of samples in a solve of validation", high=WIDE),
    "train.max_seconds": Range(
        "the bound on the time of training", 0, 1e9, above=True, unit="seconds", null="none"
    ),
    "train.patience": _count("the number of validations without improvement", null="no bound"),
    "train.clip": Range("the largest norm of the gradient", 1e-12, 1e12, null="not clipped"),
    "train.ema": Range(
        "the decay of the average of the weights", 0, 1, above=True, below=True, null="no average"
    ),
    "measure.every": _count("the number of iterations from one metered one to the next"),
    "measure.iterations": _count("the number of metered iterations", 0),
    "measure.warmup": _count("the number of first iterations not measured", 0),
    "measure.memory_budget": Range("the memory of a metered step", **_SIZE, null="no budget"),
    "repeats": _count("the number of timed evaluations of a row", high=10**6),
    "warmup": _count("the number of evaluations that are not timed", high=10**6),
    "batch": _count("the batch sizes", high=WIDE, each=True),
    "steps": _count("the numbers of fixed steps", high=WIDE, each=True, gaps=True),
    "time_limit": Range("the time of a row", 0.01, 1e9, unit="seconds", null="no limit"),
    "converged": Range(
        "the tolerance of the converged gradient", 1e-15, 1, below=True, null="not compared"
    ),
    "solver.rtol": _tolerance("the relative tolerance", 1e-16, 1),
    "solver.atol": _tolerance("the absolute tolerance", 1e-30, 1e6, unit="units of the state"),
    "solver.step_size": Range(
        "the length of fixed steps", 1e-12, 1e9, unit="units of t", null="not fixed so"
    ),
    "solver.num_steps": _count("the number of fixed steps", high=WIDE, null="not fixed so"),
    "solver.grid": Range(
        "the times of all steps", -1e12, 1e12, each=True, unit="units of t", null="not fixed so"
    ),
    "solver.max_steps": _count("the number of attempted steps"),
    "solver.first_step": _length("the length of the first step"),
    "solver.max_step": _length("the length of the longest step"),
    "solver.step_t": Range(
        "the times at which a step ends", -1e12, 1e12, each=True, unit="units of t"
    ),
    "solver.min_step": Range(
        "the length of steps accepted whatever their error", 0, 1e9, unit="units of t"
    ),
    "solver.jump_t": Range(
        "the times at which the field jumps", -1e12, 1e12, each=True, unit="units of t"
    ),
    "solver.safety": Range("the factor on the predicted step size", 0.01, 1),
    "solver.min_factor": Range("the smallest ratio of successive step sizes", 1e-3, 1),
    "solver.max_factor": Range("the largest ratio of successive step sizes", 1, 1e6),
    "solver.pi_beta": Range("the weight of the previous error", 0, 0.2),
    "solver.coupling": Range("the coupling of the two solutions", 0, 1, above=True, null="0.999"),
    "solver.damping": Range("the damping of the leapfrog", 0, 1, above=True, null="1: none"),
    "solver.newton_tol": Range(
        "the relative tolerance of an implicit step's equations", 1e-16, 0.1, null="0.01 rtol"
    ),
    "solver.max_newton": _count("the number of Newton iterations of a stage", 2, 10**4, null="20"),
    "solver.gmres_restart": _count("the number of vectors that GMRES keeps", 2, 10**4, null="40"),
    "grad.bound": Range("the largest error of the reversed solve", 0, 1e6, above=True),
    "grad.rtol": _tolerance(
        "the relative tolerance of the backward solve", 1e-16, 1, null="the forward one"
    ),
    "grad.atol": _tolerance(
        "the absolute tolerance of the backward solve", 1e-30, 1e6, null="the forward one"
    ),
    "grad.slots": _count("the number of states kept by store=revolve", 2, WIDE, null="no bound"),
    "grad.stages_at_once": _count("the graphs of network uses held at once", high=WIDE),
    "grad.memory": Range("the memory of a forward and backward pass", **_SIZE),
    "optim.lr": Range("the learning rate", 1e-30, 1e3),
    "optim.betas": Range("the decay rates of the two moments", 0, 1, below=True, each=True),
    "optim.weight_decay": Range("the weight decay", 0, 1e6),
    "optim.final": Range("the fraction of lr that the cosine ends at", 0, 1),
    "optim.warmup": _count("the number of iterations over which lr rises", 0),
    "optim.plateau": _count(
        "the number of validations without improvement before lr drops", null="it does not drop"
    ),
    "optim.plateau_factor": Range("the factor that lr drops by", 0, 1, above=True),
    "optim.plateau_drops": _count("the number of drops of lr", 0, 10**6),
    "model.dim": _count("the number of entries of a state", high=10**6),
    "model.hidden": _WIDTHS,
    "model.components": _count("the number of stacked flows", high=1000),
    "model.T": Range("the time that a component is integrated over", 1e-9, 1e6),
    "model.wrong_by": Range("the factor that constants start wrong by", 1e-3, 1e3),
    "model.kernel": _count("the number of grid points that the first layer sees", high=999),
    "model.dx": _SPACING,
    "model.gravity": _GRAVITY,
    "model.restitution": Range("the first coefficient of restitution", 1e-3, 1, below=True),
    "model.drag": Range("the first drag of the air", 1e-6, 1e3, unit="1/s"),
    "model.scales": _count("the number of resolutions", high=30, null="as many as fit"),
    "model.classes": _count("the number of classes", 0, 10**6, null="those of the data, if any"),
    "model.width": _count("the width of the layers", high=WIDE),
    "model.blocks": _count("the number of residual blocks", high=1000),
    "model.channels": _count("the channels at each resolution", high=WIDE, each=True),
    "model.attention": _count("the number of attention heads", 0, 10**5),
    "model.image_shape": _count(
        "the height and width of the images", high=10**5, each=True, null="those of the data"
    ),
    "task.kinetic": Range("the weight of the integral of |f|^2", 0, 1e6),
    "task.jacobian": Range("the weight of the integral of |df/dz|^2", 0, 1e6),
    "task.sigma_min": Range("the deviation of the noise left at t = 1", 0, 1, below=True),
    "task.class_dropout": Range("the part of the labels that is left out", 0, 1, below=True),
    "task.likelihood_rows": _count("the number of rows in a test's likelihood", 0, null="all"),
    "task.guidance": Range("the strength of classifier-free guidance", 0, 1e3),
    "task.noise": Range("the deviation of the noise in training", 0, 1e6, unit="that of the data"),
    "task.check_tolerance": Range(
        "the bound on the difference of the NLLs at the run's and a tighter tolerance",
        0,
        1e9,
        unit="nats",
        null="not checked",
    ),
    "task.check_factor": Range("the factor on the tolerances of the check", 1e-12, 1, below=True),
    "task.horizon": _HORIZON,
    "task.rollouts": _count("the number of test trajectories rolled out", null="all"),
    "task.rollout_max_steps": _count("the number of attempted steps of a roll-out"),
    "task.windows": _count("the number of windows in a validation"),
    "task.entries": _count("the numbers of entries", 0, 10**6, each=True, null="all"),
    "task.huber": Range(
        "the error from which the loss is linear", 0, 1e12, above=True, null="squares throughout"
    ),
    "goal.fraction": Range("the fraction of pixels that are known", 0, 1, above=True),
    "goal.factor": _count("the factor between the two resolutions", 2, 1000),
    "goal.width": Range("the deviation of the blur", 0.01, 1000, unit="pixels"),
    "goal.noise": Range("the deviation of the measurement's noise", 0, 1e6, unit="pixel values"),
    "goal.seed": _seed("the goal"),
    "goal.point": Range("the entries of the point", -1e9, 1e9, each=True),
    "goal.label": _count("the class", 0, 10**6, null="every class in turn"),
    "way.evaluations": _count("the number of solves with their gradient", high=10**7),
    "way.lr": Range("the learning rate", 1e-30, 1e6),
    "way.prior": Range("the weight of the noise's own likelihood", 0, 1e9),
    "way.strength": Range("the strength of guidance", 0, 1e24),
    "way.n": _count("the number of steps to the estimated sample", 0, WIDE, null="the solver's"),
    "way.intervals": _count("how often the state is moved", high=WIDE, null="at every step"),
    "way.iterations": _count("the number of training iterations", high=10**7),
    "way.last": _count("the number of last steps with gradient", high=WIDE, null="all steps"),
    "way.clip": Range("the largest norm of the gradient", 1e-12, 1e12, null="not clipped"),
    "way.seed": _seed("the noise"),
    "data.seed": _seed("the data"),
    "data.impacts": _count("the number of impacts of a ball", 2, 1000),
    "data.gravity": _GRAVITY,
    "data.restitution": Range("the coefficient of restitution", 1e-3, 1),
    "data.drag": Range("the drag of the air", 1e-3, 1e3, zero=True, unit="1/s"),
    "data.size": _count("the number of points in each of the fixed sets"),
    "data.dim": _count("the number of entries of a point", high=10**6),
    "data.modes": _count("the number of modes", high=1000),
    "data.spread": Range("the distance of the modes", 0, 1e6, unit="deviations of one"),
    "data.alpha": Range("alpha of the logit", 1e-12, 0.5, below=True),
    "data.train": _count("the number of patches to train on"),
    "data.val": _count("the number of patches to validate on"),
    "data.test": _count("the number of patches to test on"),
    "data.samples": _count("the number of trajectories", 2, HUGE),
    "data.noise": Range("the deviation of the training observations", 0, 1e6),
    "data.mu": Range("the damping", 1e-3, 1e6),
    "data.angle": Range("the largest angle at release", 0, 1e3, unit="rad"),
    "data.trajectories": _count("the number of trajectories to train and to test on", 2),
    "data.steps": _count("the number of steps of a trajectory"),
    "data.horizon": _HORIZON,
    "data.dx": _SPACING,
}
"""By full key: "seed", "train.steps", "solver.rtol", ...; a group's key stands for the argument of
that name of every constructor in symadj that the group's yamls name."""


def require(group: str, **given: object) -> None:
    """Checks arguments of a constructor, each by the range of GROUP.NAME and under its own name.

    Raises:
        InputError: a value out of its range.
    """
    for name, value in given.items():
        RANGES[f"{group}.{name}"].check(value, name)


def check_settings(section: str, settings: Mapping[Any, Any], shown: str | None = None) -> None:
    """Checks the numbers of a section of a configuration, under their full keys.

    A user's own class, which `_target_` names, has ranges of its own and is passed over.

    Args:
        section: "train", "solver", ...; "": the settings that belong to none.
        settings: by name, interpolations resolved.
        shown: what stands before the names in messages; None: the section.

    Raises:
        InputError: a value out of its range.
    """
    target = settings.get("_target_")
    if target is not None and not str(target).startswith("symadj."):
        return
    for name, value in settings.items():
        key = f"{section}.{name}".lstrip(".")
        if (known := RANGES.get(key)) is not None:
            known.check(value, key if shown is None else f"{shown}{name}")
