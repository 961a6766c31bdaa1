"""A small archive laid out as the MAF archive, with data that every preparation step acts on."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.data.maf.python2_pickle import old_pickle


@dataclass(frozen=True)
class Raw:
    """The raw arrays of the five sets."""

    power: NDArray[np.float64]
    gas: pd.DataFrame
    hepmass_train: pd.DataFrame
    hepmass_test: pd.DataFrame
    miniboone: NDArray[np.float64]
    bsds300: dict[str, NDArray[Any]]


def raw_data() -> Raw:
    """Deterministic raw data of a few hundred rows."""
    rng = np.random.default_rng(5)
    return Raw(
        power=rng.normal(size=(230, 8)) * np.array([1.0, 2, 3, 4, 0.5, 6, 7, 1]) + 10,
        gas=_gas(rng),
        hepmass_train=_hepmass(rng, 120),
        hepmass_test=_hepmass(rng, 60).assign(mass=1000.0),
        miniboone=rng.gamma(2.0, size=(150, 43)),
        bsds300={
            name: rng.normal(size=(n, 63)).astype(np.float32) / 10
            for name, n in (("train", 40), ("validation", 7), ("test", 11))
        },
    )


def _gas(rng: np.random.Generator) -> pd.DataFrame:
    """Sensors of which R1, R3 and R4 rise together, and R2 with R6; R5 against R2."""
    a, b = rng.normal(size=(2, 140))

    def near(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 3 * x + 0.01 * rng.normal(size=140) + 7

    return pd.DataFrame(
        {
            "Time": np.arange(140.0), "Meth": a, "Eth": b,
            "R1": near(a), "R2": near(b), "R3": near(a), "R4": near(a), "R5": near(-b),
            "R6": near(b), "R7": rng.normal(size=140),
        }
    )  # fmt: skip


def _hepmass(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Labels, and features of which f1 repeats its smallest value and f3 another one."""
    features = rng.normal(size=(n, 5)) * np.array([1.0, 2, 3, 4, 5]) + 1
    features[: n // 2, 1] = -10.0
    features[: n // 2, 3] = 3.25
    frame = pd.DataFrame(features, columns=[f"f{i}" for i in range(5)])
    frame.insert(0, "# label", rng.integers(0, 2, size=n).astype(np.float64))
    return frame


def contents(raw: Raw) -> dict[str, bytes]:
    """The archive's files by their names below data/."""
    return {
        "power/data.npy": _npy(raw.power),
        "gas/ethylene_CO.pickle": old_pickle({c: raw.gas[c].to_numpy() for c in raw.gas}),
        "hepmass/1000_train.csv": raw.hepmass_train.to_csv(index=False).encode(),
        "hepmass/1000_test.csv": raw.hepmass_test.to_csv(index=False).encode(),
        "miniboone/data.npy": _npy(raw.miniboone),
        "BSDS300/BSDS300.hdf5": _hdf5(raw.bsds300),
        "mnist/mnist.pkl.gz": b"an image set, which is not taken",
    }


def pack(files: dict[str, bytes], more: tuple[tarfile.TarInfo, ...] = ()) -> bytes:
    """A .tar.gz with the files below data/ and further members as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"data/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in more:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return buffer.getvalue()


def _npy(array: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _hdf5(arrays: dict[str, NDArray[Any]]) -> bytes:
    h5py = pytest.importorskip("h5py", reason="the archive holds an HDF5 file (extra maf)")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return buffer.getvalue()
