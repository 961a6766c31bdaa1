from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from symadj.data.physics.trajectories import Trajectories
from symadj.errors import InputError

T = np.linspace(0, 1, 11)
U = np.random.default_rng(0).normal(size=(20, 11, 2, 3))


def saved(tmp_path: Path, **arrays: Any) -> str:
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    return str(path)


def test_trajectories_are_split_by_trajectory(tmp_path: Path) -> None:
    data = Trajectories(saved(tmp_path, t=T, u=U))
    assert [tuple(s.shape) for s in (data.train, data.val, data.test)] == [
        (16, 11, 6), (2, 11, 6), (2, 11, 6)
    ]  # fmt: skip
    assert (data.name, data.dim, data.dt) == ("mine", 6, pytest.approx(0.1))
    together = torch.cat([data.train, data.val, data.test]).flatten(1)
    expected = torch.from_numpy(U).flatten(1)
    assert sorted(together.tolist()) == sorted(expected.tolist())
    assert not torch.equal(together, expected)
    again = Trajectories(saved(tmp_path, t=T, u=U), seed=1)
    assert not torch.equal(again.train, data.train)


def test_one_trajectory_is_cut_in_time(tmp_path: Path) -> None:
    t = np.arange(40) * 0.5
    u = np.arange(40.0).reshape(1, 40)
    data = Trajectories(saved(tmp_path, t=t, u=u))
    parts = [s.flatten().tolist() for s in (data.train, data.val, data.test)]
    assert parts[0] + parts[1] + parts[2] == list(range(40))
    assert [len(p) for p in parts] == [32, 4, 4]
    assert data.dt == 0.5


def test_integers_and_a_grid_spacing(tmp_path: Path) -> None:
    data = Trajectories(saved(tmp_path, t=np.arange(11), u=np.ones((3, 11, 8), int)), dx=0.25)
    assert data.train.dtype == torch.float64
    assert data.model_arguments() == {"dim": 8, "dx": 0.25}
    assert len(data.train) == len(data.val) == len(data.test) == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"t": T}, r"holds t; .* u is missing"),
        ({"x": T}, r"holds x; .* t and u are missing"),
        ({"t": T, "u": U[:, :10]}, r"u has shape \(20, 10, 2, 3\) and t has 11 times"),
        ({"t": T, "u": T}, r"u has shape \(11,\).* single trajectory save u\[None\]"),
        ({"t": T, "u": U[:0]}, r"u has shape \(0, 11"),
        ({"t": T[None], "u": U}, r"t has shape \(1, 11\)"),
        ({"t": T[:1], "u": U[:, :1]}, r"t has shape \(1,\)"),
        ({"t": T, "u": U.astype(complex)}, r"u has dtype complex128"),
        ({"t": T.astype(str), "u": U}, r"t has dtype"),
        ({"t": T, "u": np.where(U > 2, np.nan, U)}, r"u holds \d+ missing, NaN .* trajectory"),
        ({"t": np.where(T > 0.9, np.inf, T), "u": U}, r"t holds NaN or infinity"),
        ({"t": T[::-1], "u": U}, r"t must rise"),
        ({"t": T**2, "u": U}, r"equally spaced.*Interpolate"),
        ({"t": np.arange(11), "u": U[:1]}, r"1 trajectory of 11 snapshots cannot be cut"),
        ({"t": T, "u": np.array([[None] * 11])}, r"Python objects, which are not opened"),
    ],
)
def test_what_cannot_be_used_is_named(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        Trajectories(saved(tmp_path, **arrays))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        Trajectories(str(tmp_path / "nowhere.npz"))
    with pytest.raises(InputError, match=r"a \.npz file is needed"):
        Trajectories(str(tmp_path))
    other = tmp_path / "mine.csv"
    other.write_text("1,2")
    with pytest.raises(InputError, match=r"a \.npz file is needed"):
        Trajectories(str(other))
    path = Path(saved(tmp_path, t=T, u=U))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        Trajectories(str(path))
    path.write_bytes(b"")
    with pytest.raises(InputError, match="damaged"):
        Trajectories(str(path))


@pytest.mark.parametrize("given", [{"dx": 0.0}, {"dx": float("inf")}, {"horizon": 11}])
def test_settings_out_of_range(given: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=next(iter(given))):
        Trajectories(saved(tmp_path, t=T, u=U), **given)


def test_an_array_that_claims_more_than_its_file_holds_is_refused(tmp_path: Path) -> None:
    path = Path(saved(tmp_path, t=np.arange(5.0), u=np.zeros((2, 5, 3))))
    with zipfile.ZipFile(path) as whole:
        parts = {name: whole.read(name) for name in whole.namelist()}
    claim = parts["u.npy"].replace(b"(2, 5, 3), }      ", b"(99999999, 5, 3), }")
    assert claim != parts["u.npy"]
    with zipfile.ZipFile(path, "w") as spoilt:
        for name, content in (parts | {"u.npy": claim}).items():
            spoilt.writestr(name, content)
    with pytest.raises(InputError, match=r"no whole \.npz file"):
        Trajectories(str(path))
