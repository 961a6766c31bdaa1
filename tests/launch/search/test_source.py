"""The trials of a study without any training: who gets them, how they count, what is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from optuna.trial import TrialState

from symadj.config.space import searched
from symadj.errors import InputError
from symadj.launch.index import claimed
from symadj.launch.job import Job, Outcome
from symadj.launch.search.settings import SearchSettings
from symadj.launch.search.source import Search
from symadj.records.status import Status

Make = Callable[..., Search]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(*ranges: str, **settings: object) -> Search:
        _, space = searched(list(ranges) or ["x=interval(0,1)"])

        def job(values: Mapping[str, object]) -> Job:
            config = {"out": str(tmp_path / "out"), **values}
            return Job("train", config, tuple(f"{k}={v}" for k, v in values.items()))

        given = SearchSettings(**{"sampler": "random", "trials": 4, **settings})  # type: ignore[arg-type]
        about = {"search.metric": "val/nll"}
        return Search(given, space, "val/nll", about, (1, 3), job, tmp_path / "out")

    return made


def taken(search: Search) -> Job:
    job = search.ask()
    assert job is not None
    return job


def number(job: Job) -> int:
    assert job.trial is not None
    return job.trial[2]


def ok(value: float) -> Outcome:
    return Outcome(Status.OK, metrics={"val/nll": value})


def states(search: Search) -> list[TrialState]:
    return [trial.state for trial in search.trials()]


def test_it_gives_as_many_trials_as_it_has_and_no_more(make: Make) -> None:
    search = make()
    for value in range(4):
        search.tell(taken(search), ok(value))
    assert search.ask() is None
    assert [trial.value for trial in search.trials()] == [0, 1, 2, 3]
    search.close()
    assert make().total == 0
    more = make(trials=6)
    assert (more.total, number(taken(more)), number(taken(more)), more.ask()) == (2, 4, 5, None)


def test_a_trial_of_a_process_that_has_died_goes_on_with_its_values_and_counts_once(
    make: Make,
) -> None:
    first = make()
    jobs = [taken(first), taken(first)]
    first.tell(jobs[0], ok(1))
    first.close()  # as a dead process lets go of its lock
    second = make()
    assert second.total == 3
    again = taken(second)
    assert (again, again.label) == (jobs[1], jobs[1].label)
    assert [number(taken(second)) for _ in range(2)] == [2, 3]
    assert second.ask() is None


def test_trials_of_a_process_that_lives_are_left_to_it(make: Make) -> None:
    first, second = make(), make()
    assert [number(taken(search)) for search in (first, second, first, second)] == [0, 1, 2, 3]
    assert first.ask() is second.ask() is None
    first.close()
    assert [number(taken(second)) for _ in range(2)] == [0, 2]
    assert second.ask() is None


def test_a_trial_whose_job_some_process_is_at_is_left_to_that(make: Make) -> None:
    first = make()
    job = taken(first)
    first.close()
    second = make()
    with claimed(job):
        assert number(taken(second)) == 1
    assert number(taken(second)) == 0


def test_a_trial_that_was_cut_off_while_it_was_asked_for_is_given_what_it_lacks(make: Make) -> None:
    first = make()
    first.study.ask()
    first.close()
    second = make()
    assert number(taken(second)) == 0
    straight = make(study="other")
    assert second.trials()[0].params == (taken(straight) and straight.trials()[0].params)


@pytest.mark.parametrize("status", [Status.INTERRUPTED, Status.STORAGE])
def test_what_was_cut_off_goes_on_in_the_next_sitting_and_not_in_this_one(
    make: Make, status: Status
) -> None:
    search = make(trials=1)
    job = taken(search)
    search.tell(job, Outcome(status))
    assert search.ask() is None
    search.close()
    assert taken(make(trials=1)) == job


def test_how_a_run_ended_is_told(make: Make) -> None:
    search = make()
    search.tell(taken(search), Outcome(Status.NONFINITE, "diverged"))
    search.tell(taken(search), Outcome(Status.ERROR, "a bug"))
    search.tell(taken(search), Outcome(Status.PRUNED, metrics={"val/nll": 3.0}))
    search.tell(taken(search), Outcome(Status.OK, metrics={"val/nll": float("nan")}))
    fail, pruned = TrialState.FAIL, TrialState.PRUNED
    assert states(search) == [fail, fail, pruned, fail]


def test_trials_of_the_same_values_share_one_run(make: Make) -> None:
    search = make("a=x,y", trials=6, seed=1)
    jobs = [taken(search), taken(search)]
    assert search.ask() is None, "both values are being tried"
    assert len(search.trials()) == 6
    for value, job in enumerate(jobs):
        search.tell(job, ok(value))
    assert states(search) == [TrialState.COMPLETE] * 6
    assert len({(trial.params["a"], trial.value) for trial in search.trials()}) == 2


def test_a_trial_that_another_process_has_finished_is_not_told_again(make: Make) -> None:
    first = make()
    job = taken(first)
    first.close()
    second = make()
    second.tell(taken(second), ok(1))
    first.tell(job, ok(2))
    assert second.trials()[0].value == 1


def test_a_run_s_directory_is_no_study(make: Make, tmp_path: Path) -> None:
    (tmp_path / "out/search").mkdir(parents=True)
    (tmp_path / "out/search/config.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match=r"search\.study=NAME"):
        make()
