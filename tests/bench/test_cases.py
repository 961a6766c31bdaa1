"""The grid of a benchmark."""

from __future__ import annotations

from omegaconf import OmegaConf

from symadj.bench.cases import groups
from symadj.bench.settings import bench_settings
from symadj.run.configs import run_settings
from tests.bench.small import small, small_cases


def test_a_group_for_every_solver_batch_and_number_of_steps() -> None:
    config = small(
        "grads=[aca,symplectic]",
        "solvers=[bosh3,dopri5]",
        "batch=[4,6]",
        "steps=[3,null]",
        "solver.rtol=1e-5",
        "solver.atol=1e-6",
    )
    found = groups(config, bench_settings(config))
    assert [group.title for group in found[:3]] == [
        "bosh3, batch 4, 3 steps",
        "bosh3, batch 4, rtol 1e-05 atol 1e-06",
        "bosh3, batch 6, 3 steps",
    ]
    assert len({group.slug for group in found}) == 8
    for group in found:
        assert [case.label for case in group.cases] == ["aca", "symplectic"]
    first = found[0].cases[0].config
    assert first["solver"]["method"] == "bosh3"
    assert first["solver"]["num_steps"] == 3
    assert first["train"]["batch_size"] == 4
    assert first["grad"]["_target_"] == "symadj.grad.ACA"


def test_without_axes_the_groups_own_settings_are_measured() -> None:
    config = small("solver=rk4", "solver.step_size=0.25")
    (group,) = groups(config, bench_settings(config))
    assert group.title == "rk4, batch 6, step size 0.25"
    assert group.slug == ""
    assert group.cases[0].config["solver"]["step_size"] == 0.25


def test_fixed_steps_take_the_place_of_a_step_size() -> None:
    (case,) = small_cases("solver=rk4", "solver.step_size=0.25", "steps=[5]")
    assert case.config["solver"]["num_steps"] == 5
    assert case.config["solver"]["step_size"] is None


def test_a_row_is_a_configuration_that_training_takes() -> None:
    (case,) = small_cases()
    settings = run_settings(OmegaConf.create(dict(case.config)))
    assert settings.train.batch_size == 6


def test_every_method_has_a_row_for_each_trace() -> None:
    cases = small_cases("grads=[aca,symplectic]", "traces=[tangent,autograd]")
    assert [(case.label, case.tangent) for case in cases] == [
        ("aca", True),
        ("symplectic", True),
        ("aca, autograd trace", False),
        ("symplectic, autograd trace", False),
    ]
    assert cases[0].config == cases[2].config


def test_peers_follow_the_methods_and_say_which_of_them_they_are_like() -> None:
    cases = small_cases("grads=[aca]", "peers=[torchdiffeq,diffrax]")
    assert [case.label for case in cases] == [
        "aca",
        "torchdiffeq",
        "torchdiffeq adjoint",
        "torchdiffeq, autograd trace",
        "torchdiffeq adjoint, autograd trace",
        "diffrax",
        "diffrax, autograd trace",
    ]
    assert len({case.slug for case in cases}) == len(cases)
    assert [case.tangent for case in cases[1:]] == [True, True, False, False, True, False]
    assert cases[1].config["grad"] == {"_target_": "symadj.grad.Backprop"}
    assert cases[2].config["grad"] == {"_target_": "symadj.grad.Adjoint"}
