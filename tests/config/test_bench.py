"""The benchmark's settings: what they allow, and the options that their lists name."""

from __future__ import annotations

from pathlib import Path

import pytest

from symadj.config.bench import bench_settings, compose_bench
from symadj.errors import InputError
from tests.bench.small import small


def test_the_defaults_are_all_five_methods_each_in_a_process_of_its_own() -> None:
    settings = bench_settings(compose_bench())
    assert list(settings.grads) == ["backprop", "checkpoint", "aca", "adjoint", "symplectic"]
    assert settings.isolate
    assert settings.out == "results/bench"


def test_names_become_the_nodes_of_their_group() -> None:
    config = small("grads=[aca,adjoint]", "solvers=[bosh3,dopri5]")
    assert config["grads"]["aca"]["_target_"] == "symadj.grad.ACA"
    assert config["grads"]["adjoint"]["seminorm"] is True
    assert config["solvers"]["bosh3"]["method"] == "bosh3"


def test_the_solver_settings_hold_for_all_solvers() -> None:
    config = small("solvers=[bosh3,tsit5]", "solver=rk4", "solver.rtol=1e-3", "solver.num_steps=7")
    for name in ("bosh3", "tsit5"):
        node = config["solvers"][name]
        assert (node["method"], node["rtol"], node["num_steps"]) == (name, 1e-3, 7)


def test_the_settings_of_grad_hold_for_its_own_method_alone() -> None:
    config = small("grads=[adjoint,aca]", "grad=adjoint", "grad.rtol=1e-2")
    assert config["grads"]["adjoint"]["rtol"] == 1e-2
    assert "rtol" not in config["grads"]["aca"]


def test_options_of_the_users_own_directory_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "grad").mkdir()
    (tmp_path / "grad" / "mine.yaml").write_text("_target_: symadj.grad.Adjoint\nrtol: 1e-2\n")
    config = compose_bench(["grads=[mine]"], tmp_path)
    assert config["grads"]["mine"]["rtol"] == 1e-2


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("grads=[symplektic]", "symplectic"),
        ("solvers=[dopri]", "dopri5"),
        ("grads=symplectic", "list of names"),
        ("grads=[aca,aca]", "twice"),
    ],
)
def test_names_that_cannot_be_used_are_refused(override: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        small(override)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("peers=[torchdifeq]", "torchdiffeq"),
        ("repeats=0", "repeats"),
        ("warmup=0", "warmup"),
        ("batch=[0]", "batch"),
        ("steps=[-1]", "steps"),
        ("batch=[5,5]", "twice"),
        ("time_limit=0", "time_limit"),
        ("autocast=bfloat", "bfloat16"),
        ("converged=0", "converged"),
        ("grads=[]", "nothing to measure"),
        ("device=gpu dtype=half", "dtype"),
    ],
)
def test_values_out_of_range_are_refused(override: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        bench_settings(small(*override.split()))


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InputError, match="surprise"):
        bench_settings({**small(), "surprise": 1})


def test_a_variant_of_a_method_keeps_its_own_settings() -> None:
    grads = compose_bench(["grads=[symplectic,symplectic_stages]", "grad.offload=disk"])["grads"]
    assert grads["symplectic"]["offload"] == "disk"
    assert grads["symplectic_stages"]["store"] == "stages"
    alone = compose_bench(["grads=[symplectic_stages]"])["grads"]
    assert alone["symplectic_stages"]["store"] == "stages"
