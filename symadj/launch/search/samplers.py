"""The samplers of a search, made anew for every trial: its number and the seed give its values."""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, GPSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial

from symadj.config.space import Parameter, Value
from symadj.launch.search.settings import SearchSettings


def sampler(settings: SearchSettings, space: Sequence[Parameter], number: int) -> BaseSampler:
    """The sampler of the trial of this number."""
    seed = zlib.crc32(f"{settings.seed} {number}".encode())
    if settings.sampler == "tpe":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return TPESampler(n_startup_trials=settings.startup, seed=seed, constant_liar=True)
    if settings.sampler == "gp":
        return GPSampler(n_startup_trials=settings.startup, seed=seed)
    if settings.sampler == "cmaes":
        return CMAES(space, seed)
    if settings.sampler == "grid":
        # The order of its points is the search's, so this seed is the same for all trials.
        values = {parameter.key: parameter.values() or [] for parameter in space}
        return GridSampler(values, seed=settings.seed % 2**32)
    return RandomSampler(seed=seed)


def distribution(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it."""
    low, high, step, log = parameter.low, parameter.high, parameter.step, parameter.log
    if parameter.choices:
        return CategoricalDistribution(parameter.choices)
    if parameter.whole:
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(low, high, log=log, step=None if log else step)


def chosen(trial: Trial, parameter: Parameter) -> Value:
    """The value of a trial, drawn now unless it has one."""
    key, low, high, log = parameter.key, parameter.low, parameter.high, parameter.log
    if parameter.choices:
        return trial.suggest_categorical(key, parameter.choices)
    if parameter.whole:
        return trial.suggest_int(key, int(low), int(high), log=log, step=int(parameter.step or 1))
    return trial.suggest_float(key, low, high, log=log, step=None if log else parameter.step)


class CMAES(BaseSampler):
    """CMA-ES (Hansen and Ostermeier 2001), by the package cmaes.

    Optuna's own sampler keeps the optimiser's state in the study as a pickle, which would run as
    code; here it is computed anew from the trials that have ended, in the order of their numbers,
    as many at a time as a generation has. A failed trial ranks last.

    Args:
        space: numbers only.
        seed: of the draw.
    """

    def __init__(self, space: Sequence[Parameter], seed: int) -> None:
        self._space = space
        self._seed = seed

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All parameters."""
        return {parameter.key: distribution(parameter) for parameter in self._space}

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: Mapping[str, BaseDistribution],
    ) -> dict[str, Any]:
        """A draw from the distribution that the trials before have led to."""
        from cmaes import CMA

        n = len(self._space)
        bounds = np.tile([0.0, 1.0], (n, 1))
        optimizer = CMA(mean=np.full(n, 0.5), sigma=1 / 4, bounds=bounds, seed=self._seed)
        sign = -1.0 if study.direction is optuna.study.StudyDirection.MAXIMIZE else 1.0
        told = [
            (
                np.array([_to_unit(p, t.params[p.key]) for p in self._space]),
                math.inf if t.value is None else sign * t.value,
            )
            for t in study.get_trials(deepcopy=False)
            if t.state.is_finished() and len(t.params) == n
        ]
        size = optimizer.population_size
        for start in range(0, len(told) - size + 1, size):
            optimizer.tell(told[start : start + size])
        drawn = zip(self._space, optimizer.ask(), strict=True)
        return {parameter.key: _from_unit(parameter, float(x)) for parameter, x in drawn}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never asked for: all parameters are drawn together."""
        raise AssertionError(param_name)


def _ends(parameter: Parameter) -> tuple[float, float]:
    """The ends of the unit interval in the parameter's own scale; whole numbers share it evenly."""
    half = 0.5 * (parameter.step or 0) if parameter.step is not None else 0.0
    low, high = parameter.low - half, parameter.high + half
    return (math.log(low), math.log(high)) if parameter.log else (low, high)


def _to_unit(parameter: Parameter, value: float) -> float:
    low, high = _ends(parameter)
    scaled = math.log(value) if parameter.log else value
    return 0.5 if low == high else (scaled - low) / (high - low)


def _from_unit(parameter: Parameter, x: float) -> float | int:
    low, high = _ends(parameter)
    scaled = low + x * (high - low)
    value = math.exp(scaled) if parameter.log else scaled
    if parameter.step is not None:
        value = parameter.low + round((value - parameter.low) / parameter.step) * parameter.step
    value = min(max(value, parameter.low), parameter.high)
    return int(value) if parameter.whole else value
