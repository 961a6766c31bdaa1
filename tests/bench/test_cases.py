"""The grid of a benchmark."""

from __future__ import annotations

import pytest

from symadj.bench.cases import groups
from symadj.config.bench import bench_settings, compose_bench
from symadj.config.compose import run_settings
from symadj.errors import InputError
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
    settings = run_settings(case.config)
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


def test_peers_may_differentiate_inside_a_field_in_one_way() -> None:
    for trace, tail in (("tangent", ""), ("autograd", ", autograd trace")):
        cases = small_cases("grads=[]", "peers=[torchdiffeq,diffrax]", f"peer_traces=[{trace}]")
        names = ("torchdiffeq", "torchdiffeq adjoint", "diffrax")
        assert [case.label for case in cases] == [f"{name}{tail}" for name in names]


def test_a_row_of_the_users_own_differs_in_what_it_says() -> None:
    stages = "['grad.store=stages','grad=symplectic']"
    loose = "['solver.rtol=1e-2','measure.memory=profiler']"
    config = small("grads=[aca]", "grad=adjoint", f"rows={{kept:{stages},loose:{loose}}}")
    (group,) = groups(config, bench_settings(config))
    plain, kept, loose_one = group.cases
    assert [case.label for case in group.cases] == ["aca", "kept", "loose"]
    assert kept.config["grad"]["_target_"] == "symadj.grad.Symplectic"
    assert kept.config["grad"]["store"] == "stages"
    assert "rtol" not in kept.config["grad"]
    assert {k: v for k, v in kept.config.items() if k != "grad"} == {
        k: v for k, v in plain.config.items() if k != "grad"
    }
    # Without a choice of its own a row has the group's method.
    assert loose_one.config["grad"]["_target_"] == "symadj.grad.Adjoint"
    assert loose_one.config["solver"] == {**plain.config["solver"], "rtol": 1e-2}
    assert loose_one.config["measure"]["memory"] == "profiler"
    assert loose_one.config["measure"]["every"] == plain.config["measure"]["every"]


def test_what_follows_from_a_rows_setting_is_the_rows_too() -> None:
    plain, compiled = small_cases("rows={compiled:['grad=symplectic','compile=true']}")
    assert plain.config["solver"]["compile"] is False
    assert compiled.config["compile"] is True
    assert compiled.config["solver"] == {**plain.config["solver"], "compile": True}


def test_rows_go_along_the_axes() -> None:
    config = small("grads=[]", "rows={mine:['grad=aca']}", "solver=rk4", "steps=[3,5]")
    found = groups(config, bench_settings(config))
    assert [group.cases[0].config["solver"]["num_steps"] for group in found] == [3, 5]


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("{a:['grad=symplektic']}", "symplectic"),
        ("{a:['grad.stor=stages']}", "grad.stor.*store"),
        ("{a:['solver.rtoll=1']}", "rtol"),
        ("{a:['data.dim=3']}", "same in all rows"),
        ("{a:['solver=rk4']}", "rows: a: solver is the same in all rows"),
        ("{a:['grad=aca,adjoint']}", "rows: a: .*one name is needed"),
        ("{a:['measure.every=1,2']}", "rows: a: .*several values"),
        ("{a:['grad.slots=1']}", "rows: a: grad.slots=1"),
        ("{a:['measure.every=no']}", "rows: a: measure.every='no'"),
        ("{a:['grad.offload_dir=${nothing}']}", "rows.a.*no such setting"),
        ("{a:['~grad']}", "rows: a: ~grad"),
        ("{a:['repeats=3']}", "same in all rows"),
        ("{a:['grad']}", "rows: a"),
        ("{a:aca}", "list of settings"),
        ("[aca]", "list of settings"),
        ("{aca:['solver.rtol=1']}", "another label"),
    ],
)
def test_rows_that_cannot_be_used_are_refused(rows: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        small_cases("grads=[aca]", f"rows={rows}")


def test_other_software_has_a_stand_in_for_dop853() -> None:
    own, other = small_cases("grads=[aca]", "peers=[torchdiffeq]", "solver=dop853")[:2]
    assert (own.solver, other.solver) == ("dop853", "dopri8")


def test_a_task_without_a_solve_has_no_gradient_methods_to_compare() -> None:
    config = compose_bench(["task=flow_matching", "data=digits"])
    with pytest.raises(InputError, match=r"FlowMatching solves no ODE.*Take task=density"):
        groups(config, bench_settings(config))
