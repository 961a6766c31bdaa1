from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import optuna
import pytest

from symadj.config.space import Parameter, searched
from symadj.launch.search.samplers import chosen, sampler
from symadj.launch.search.settings import SearchSettings

NUMBERS = searched(["x=tag(log,interval(1e-3,1e3))", "n=int(interval(-8,8))", "z=range(0,1,0.25)"])[
    1
]


def ask(
    study: optuna.Study, settings: SearchSettings, space: Sequence[Parameter]
) -> tuple[optuna.Trial, dict[str, Any]]:
    study.sampler = sampler(settings, space, len(study.trials))
    trial = study.ask()
    values = {parameter.key: chosen(trial, parameter) for parameter in space}
    study.sampler = optuna.samplers.RandomSampler()
    return trial, values


def run(
    settings: SearchSettings,
    space: Sequence[Parameter],
    score: Callable[[dict[str, Any]], float | None],
    trials: int,
    study: optuna.Study | None = None,
) -> list[dict[str, Any]]:
    study = optuna.create_study() if study is None else study
    found = []
    for _ in range(trials):
        trial, values = ask(study, settings, space)
        found.append(values)
        value = score(values)
        state = optuna.trial.TrialState.FAIL if value is None else None
        study.tell(trial, value, state=state)
    return found


def bowl(values: dict[str, Any]) -> float:
    return abs(values["x"] - 3) + abs(values["n"] - 2) + abs(values["z"] - 0.5)


@pytest.mark.parametrize(("name", "trials"), [("tpe", 8), ("random", 8), ("cmaes", 16), ("gp", 5)])
def test_a_search_in_two_sittings_draws_what_one_in_one_sitting_draws(
    name: Any, trials: int
) -> None:
    settings = SearchSettings(name, startup=3, seed=5)
    whole = run(settings, NUMBERS, bowl, trials)
    study = optuna.create_study()
    halves = [values for n in (4, trials - 4) for values in run(settings, NUMBERS, bowl, n, study)]
    assert halves == whole
    assert run(SearchSettings(name, startup=3, seed=6), NUMBERS, bowl, 3) != whole[:3]
    assert len({values["x"] for values in whole}) == trials, "no sitting draws what was drawn"


def test_values_are_within_their_range_and_whole_where_they_are_whole() -> None:
    for name in ("random", "cmaes"):
        for values in run(SearchSettings(name), NUMBERS, bowl, 40):  # type: ignore[arg-type]
            assert 1e-3 <= values["x"] <= 1e3
            assert type(values["n"]) is int
            assert -8 <= values["n"] <= 8
            assert values["z"] in (0, 0.25, 0.5, 0.75)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_cmaes_closes_in_on_the_best_value_past_failures(direction: Any) -> None:
    space = searched(["x=tag(log,interval(1e-3,1e3))", "n=int(interval(-80,80))"])[1]

    def distance(values: dict[str, Any]) -> float:
        return abs(math.log10(values["x"]) - 0.5) + abs(values["n"] - 20) / 20

    def score(values: dict[str, Any]) -> float | None:
        sign = 1 if direction == "minimize" else -1
        return None if values["x"] > 100 else sign * distance(values)

    study = optuna.create_study(direction=direction)
    last = run(SearchSettings("cmaes"), space, score, 90, study)[-12:]
    assert max(map(distance, last)) < 0.5


def test_a_grid_has_every_combination_once() -> None:
    space = searched(["a=x,y,z", "n=range(1,5)"])[1]
    settings = SearchSettings("grid", trials=None)
    assert settings.limit(space) == 12
    found = run(settings, space, lambda values: 0.0, 12)
    assert {(v["a"], v["n"]) for v in found} == {(a, n) for a in "xyz" for n in (1, 2, 3, 4)}
    assert SearchSettings("grid", trials=5).limit(space) == 5
