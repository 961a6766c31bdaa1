"""The data sets on a grid: published draws, splits, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symadj.data.physics.cahn_hilliard import CahnHilliard, CahnHilliardEquation
from symadj.data.physics.kdv import KdV, KdVEquation
from symadj.errors import InputError


def test_the_initial_states_of_kdv_are_drawn_in_the_published_order() -> None:
    random = np.random.RandomState(1)
    x = np.linspace(0, 10, 50, endpoint=False)
    for ours in KdVEquation().two_solitons(5, 1).numpy():
        k1, k2 = random.uniform(0.5, 2.0, 2)
        d1 = random.uniform(0.2, 0.3, 1)
        d2 = d1 + random.uniform(0.2, 0.5, 1)
        random.randint(0, 50)
        u = 2 * k1**2 / np.cosh(k1 * (x - 10 * d1)) ** 2
        u = u + 2 * k2**2 / np.cosh(k2 * (x - 10 * d2)) ** 2
        if random.randint(0, 2) == 1:
            u = u[::-1]
        assert np.allclose(ours, u, rtol=0, atol=1e-13)


def test_the_initial_states_of_cahn_hilliard_are_drawn_in_the_published_order() -> None:
    random = np.random.RandomState(0)
    for ours in CahnHilliardEquation().noise(3, 0).numpy():
        assert np.array_equal(ours, (random.rand(1, 1, 50)[0, 0] - 0.5) * 0.1)


@pytest.mark.parametrize("kind", [KdV, CahnHilliard])
def test_nine_in_ten_train_and_the_validation_is_further_trajectories(
    kind: type, tmp_path: Path
) -> None:
    data = kind(trajectories=10, steps=3, data_dir=tmp_path)
    assert [tuple(s.shape) for s in (data.train, data.val, data.test)] == [
        (9, 4, 50), (1, 4, 50), (1, 4, 50)
    ]  # fmt: skip
    states = torch.cat([data.train, data.test, data.val])[:, 0]
    system = data.system
    draw = system.two_solitons if kind is KdV else system.noise
    assert torch.equal(states, draw(11, 1 if kind is KdV else 0))


def test_what_the_data_tell_a_model(tmp_path: Path) -> None:
    kdv = KdV(trajectories=2, steps=2, data_dir=tmp_path)
    known = {"dim": 50, "dx": 0.2, "structure": "skew"}
    assert kdv.model_arguments() == {**known, "system": kdv.system}
    mixture = CahnHilliard(trajectories=2, steps=2, data_dir=tmp_path)
    known = {"dim": 50, "dx": 0.02, "structure": "dissipative"}
    assert mixture.model_arguments() == {**known, "system": mixture.system}
    assert (kdv.dt, mixture.dt) == (0.001, 0.0001)


def test_the_second_time_the_trajectories_come_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = KdV(trajectories=3, steps=4, data_dir=tmp_path)

    def refuse(*_: object) -> None:
        raise AssertionError("generated again")

    monkeypatch.setattr("symadj.data.physics.grid.discrete_gradient_trajectories", refuse)
    again = KdV(trajectories=3, steps=4, data_dir=tmp_path)
    assert torch.equal(first.train, again.train)
    assert torch.equal(first.test, again.test)
    with pytest.raises(AssertionError, match="generated again"):
        KdV(trajectories=3, steps=5, data_dir=tmp_path)


def test_the_long_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symadj.data.physics.grid.LONG_STEPS", 6)
    data = KdV(trajectories=2, steps=3, long=True, data_dir=tmp_path)
    assert tuple(data.test.shape) == (5, 7, 50)
    assert tuple(data.train.shape) == (1, 4, 50)
    assert torch.equal(data.test[:, 0], KdVEquation().two_solitons(5, 100))


@pytest.mark.parametrize("given", [{"trajectories": 1}, {"steps": 0}, {"horizon": 0}])
def test_numbers_out_of_range(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        KdV(**{"trajectories": 2, "steps": 2, **given}, data_dir=tmp_path)
