"""What a search chooses: settings with a range or a list of values, in Hydra's override grammar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep
from omegaconf import OmegaConf

from symadj.config.groups import group_options
from symadj.config.overrides import parse
from symadj.config.schema import Role, role
from symadj.errors import InputError
from symadj.ranges import RANGES

Value = str | int | float


@dataclass(frozen=True)
class Parameter:
    """A setting that a search chooses: one of a list, or a number of a range.

    Attributes:
        key: as an override names it.
        text: the override as given.
        choices: the values as an override writes them; empty: it is a number.
        low, high: the bounds, both within the range.
        step: from one number to the next; None: any number between the bounds.
        log: whether it is spread evenly over the number's logarithm.
    """

    key: str
    text: str
    choices: tuple[str, ...] = ()
    low: int | float = 0
    high: int | float = 0
    step: int | float | None = None
    log: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return not self.choices and isinstance(self.low, int)

    def values(self) -> list[Value] | None:
        """All values that there are; None where they are without end."""
        if self.choices:
            return list(self.choices)
        if self.step is None:
            return None
        return [self.low + i * self.step for i in range(self.count)]

    @property
    def count(self) -> int:
        """How many numbers a range with a step has."""
        assert self.step is not None
        return round((self.high - self.low) / self.step) + 1

    def samples(self) -> list[Value]:
        """Values that stand for all of them where a configuration is checked."""
        if self.choices:
            return list(self.choices)
        middle = (self.low + self.high) // 2 if self.whole else (self.low + self.high) / 2
        return [self.low, self.high, middle if self.step is None or self.whole else self.low]

    def override(self, value: Value) -> str:
        """The override that sets this value."""
        return f"{self.key}={value}"


def searched(overrides: Sequence[str]) -> tuple[list[str], list[Parameter]]:
    """Parts the overrides of a search into those of every trial and the settings that it chooses.

    Raises:
        InputError: nothing to choose, one setting twice, a range that is none, or a setting that
            does not belong to a trial.
    """
    fixed: list[str] = []
    space: dict[str, Parameter] = {}
    for override in parse(overrides):
        if not override.is_sweep_override():
            fixed.append(override.input_line or "")
            continue
        parameter = _parameter(override)
        if parameter.key in space:
            raise InputError(f"{parameter.text}: {parameter.key} has been given a range before.")
        space[parameter.key] = parameter
    if not space:
        raise InputError(
            "a search needs settings to choose: optim.lr=tag(log,interval(1e-4,1e-1)), "
            "model.hidden=choice([64,64],[128,128]), grad=aca,symplectic."
        )
    return fixed, list(space.values())


def _parameter(override: Override) -> Parameter:
    key, text = override.get_key_element(), override.input_line or ""
    if role(override.key_or_group) in (Role.LAUNCH, Role.PLACE):
        raise InputError(
            f"{text}: {override.key_or_group} belongs to the search as a whole; give one value."
        )
    sweep: Any = override.value()
    unknown = sorted(sweep.tags - {"log"}) if hasattr(sweep, "tags") else []
    if unknown:
        raise InputError(f"{text}: unknown tag {unknown[0]!r}; the one tag of a range is log.")
    log = bool(getattr(sweep, "tags", None))
    if isinstance(sweep, IntervalSweep):
        low, high = _bounds(override.key_or_group, sweep.start, sweep.end)
        whole = isinstance(low, int)
        return _checked(Parameter(key, text, (), low, high, 1 if whole else None, log))
    if isinstance(sweep, RangeSweep):
        return _checked(_stepped(key, text, sweep, log))
    if not isinstance(sweep, ChoiceSweep) or log:
        raise InputError(
            f"{text}: a search takes lists of values, choice(A,B,C), range(START,STOP,STEP), "
            "interval(LOW,HIGH) and tag(log,interval(LOW,HIGH))."
        )
    if sweep.shuffle:
        raise InputError(f"{text}: a search orders its trials itself; leave shuffle out.")
    choices = dict.fromkeys(override.sweep_string_iterator())
    if not choices:
        raise InputError(f"{text}: this names no value.")
    return Parameter(key, text, tuple(choices))


def _bounds(key: str, low: Any, high: Any) -> tuple[Any, Any]:
    """The bounds of an interval, as whole numbers where the setting is one."""
    known = RANGES.get(key)
    integral = float(low).is_integer() and float(high).is_integer()
    return (int(low), int(high)) if known is not None and known.whole and integral else (low, high)


def _stepped(key: str, text: str, sweep: RangeSweep, log: bool) -> Parameter:
    bounds: list[Any] = [v or 0 for v in (sweep.start, sweep.stop, sweep.step)]
    if any(isinstance(value, float) for value in bounds):
        bounds = list(map(float, bounds))
    start, stop, step = bounds
    if step == 0 or not all(map(math.isfinite, (start, stop, step))):
        raise InputError(f"{text}: range(START,STOP,STEP) needs finite numbers and a STEP not 0.")
    count = math.ceil((stop - start) / step)
    if count < 1:
        raise InputError(f"{text}: this names no value.")
    low, high = sorted((start, start + (count - 1) * step))
    if log and step != 1:
        raise InputError(f"{text}: a range with the tag log has steps of 1.")
    return Parameter(key, text, (), low, high, abs(step), log)


def _checked(parameter: Parameter) -> Parameter:
    low, high = parameter.low, parameter.high
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise InputError(f"{parameter.text}: the lower bound must be a number below the upper one.")
    if parameter.log and low <= 0:
        raise InputError(f"{parameter.text}: with the tag log both bounds must be above 0.")
    return parameter


def experiment_text(overrides: Sequence[str], comment: str, extra: Any = None) -> str:
    """A file for `experiment=` that says what the overrides say, but for names and places.

    Args:
        overrides: of one run.
        comment: the line that says what it is.
        extra: a further directory of configurations that they refer to.
    """
    groups = group_options(extra)
    experiments: list[Any] = []
    choices: list[Any] = []
    values = OmegaConf.create()
    for override in parse(overrides):
        key = override.key_or_group
        if key in ("name", "out") or role(key) is Role.LAUNCH:
            continue
        if key == "experiment":
            experiments = [override.value()] if override.value() is not None else []
        elif key in groups:
            choices = [c for c in choices if f"override /{key}" not in c]
            choices.append({f"override /{key}": override.value()})
        else:
            OmegaConf.update(values, key, override.value(), force_add=True)
    defaults = {"defaults": [*experiments, *choices, "_self_"]}
    return f"# @package _global_\n# {comment}\n" + OmegaConf.to_yaml({**defaults, **values})
