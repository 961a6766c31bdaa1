"""The benchmark's settings: what they allow, and the options that their lists name."""

from __future__ import annotations

import pytest

from symadj.config.bench import bench_settings, compose_bench
from symadj.errors import InputError
from tests.bench.small import small


def test_the_defaults_are_all_five_methods_each_in_a_process_of_its_own() -> None:
    settings = bench_settings(compose_bench())
    assert list(settings.grads) == ["backprop", "checkpoint", "aca", "adjoint", "symplectic"]
    assert settings.isolate
    assert settings.out == "results/bench"


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("grads=[symplektic]", "unknown grad 'symplektic'.*symplectic"),
        ("solvers=[dopri]", "unknown solver 'dopri'.*dopri5"),
        ("grads=symplectic", "grads='symplectic'; it must be a list"),
        ("grads=[aca,aca]", "twice"),
        ("solvers=[rk4,rk4]", "twice"),
        ("grads=[auto]", "rows: auto: grad.memory must be given"),
        ("groups=[]", "groups=.*follow from"),
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
