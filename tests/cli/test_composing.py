from __future__ import annotations

from collections.abc import Sequence

import pytest

from symadj.cli import composing
from symadj.cli.composing import composed_jobs
from symadj.config.compose import compose
from symadj.config.overrides import ignored_settings
from symadj.config.schema import Config
from symadj.errors import InputError


def configuration(overrides: Sequence[str]) -> Config:
    return compose("train", overrides)


CHOICES = [["solver.rtol=1e-3"], ["solver=rk4", "solver.num_steps=2", "solver.rtol=1e-3"]]


def test_what_has_no_effect_in_some_of_the_jobs_is_a_note(capsys: pytest.CaptureFixture) -> None:
    jobs, _ = composed_jobs(CHOICES, "train", configuration)
    assert [job.config["solver"]["method"] for job in jobs] == ["dopri5", "rk4"]
    assert "solver.rtol has no effect in 1 of 2 jobs" in capsys.readouterr().err


def test_a_job_is_called_by_what_tells_it_from_the_others() -> None:
    choices = [["threads=1", "seed=0"], ["threads=1", "seed=1"]]
    assert [job.label for job in composed_jobs(choices, "train", configuration)[0]] == [
        "seed=0",
        "seed=1",
    ]
    assert composed_jobs(choices[:1], "train", configuration)[0][0].label == "threads=1 seed=0"


def test_a_sweep_has_one_launcher() -> None:
    with pytest.raises(InputError, match="cannot be swept over"):
        composed_jobs([["launcher=inline"], ["launcher=process"]], "train", configuration)


def test_it_says_how_far_it_is_where_that_takes_long(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed_jobs(CHOICES[:1] * 2, "train", configuration)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(composing, "SILENT", -1.0)
    composed_jobs(CHOICES[:1] * 2, "train", configuration)
    assert "checking the jobs of the sweep: 2 of 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "ignored"),
    [
        (["solver.rtol=1e-3", "solver.max_step=1"], []),
        (["solver.num_steps=3", "solver.atol=1e-3"], ["solver.atol"]),
        (["solver=rk4", "solver.step_size=1", "solver.pi_beta=0"], ["solver.pi_beta"]),
        (["solver=rk4", "solver.step_size=1", "solver.max_steps=9"], []),
        # To which the equations of an implicit step are solved.
        (["solver=trapezoid", "solver.num_steps=3", "solver.rtol=1e-3"], []),
        # The backward solve takes the tolerance that the forward one has no use for.
        (["solver=rk4", "solver.num_steps=3", "grad=adjoint", "grad.method=dopri5"], []),
        (
            ["solver.num_steps=3", "solver.rtol=1", "grad=adjoint", "grad.options={safety: 0.8}"],
            [],
        ),
    ],
)
def test_settings_of_adaptive_steps_are_ignored_by_fixed_ones(
    overrides: list[str], ignored: list[str]
) -> None:
    assert ignored_settings(configuration(overrides), overrides) == ignored
