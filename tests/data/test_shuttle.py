"""SHUTTLE: river's whole numbers, dequantised, standardised by the training rows."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog

from symadj.data.shuttle import COLUMNS, FILE, Shuttle
from symadj.errors import InputError
from symadj.packages import package_file

needs_tabular = pytest.mark.skipif(
    importlib.util.find_spec("river") is None, reason="river is not installed"
)


@needs_tabular
def test_the_rows_are_river_s_with_noise_below_one() -> None:
    data = Shuttle(seed=2)
    assert [len(s) for s in (data.train, data.val, data.test)] == [39_279, 4_909, 4_909]
    table = pd.read_csv(package_file("river", "tabular", *FILE))[list(COLUMNS)].to_numpy()
    x = torch.cat([data.train, data.val, data.test]).double().numpy()
    # x = (v + U - m) / s in every column; sorted, v and x pair up to the ties of v. Some m and s
    # put all s x + m - v, the noise, between 0 and 1, and it is spread evenly there.
    for v, z in zip(np.sort(table, axis=0).T, np.sort(x, axis=0).T, strict=True):
        few = np.flatnonzero(np.abs(z) < 2)[::20]
        v, z = v[few], z[few]
        line = np.stack([z, np.ones_like(z)], axis=1)
        bounds = np.concatenate([v + 1 + 1e-3, -v + 1e-3])
        found = linprog(
            [0, 0], A_ub=np.concatenate([line, -line]), b_ub=bounds, bounds=(None, None)
        )
        assert found.success
        assert abs((line @ found.x - v).std() - 1 / np.sqrt(12)) < 0.02


@needs_tabular
def test_the_columns_of_a_row_stay_together() -> None:
    """Correlations over the table's rows are those of the set."""
    data = Shuttle()
    x = torch.cat([data.train, data.val, data.test]).double().numpy()
    table = pd.read_csv(package_file("river", "tabular", *FILE))[list(COLUMNS)].to_numpy()
    difference = np.corrcoef(x.T) - np.corrcoef(table.T)
    assert np.abs(difference).max() < 0.01


@needs_tabular
def test_the_training_rows_set_the_scale() -> None:
    data = Shuttle()
    torch.testing.assert_close(
        data.train.double().mean(0), torch.zeros(9).double(), atol=1e-5, rtol=0
    )
    std = data.train.double().std(0, correction=0)
    torch.testing.assert_close(std, torch.ones(9).double(), atol=1e-5, rtol=0)
    assert (data.test.mean(0).abs() > 1e-4).any()
    assert data.columns == COLUMNS
    assert Shuttle.state(Path()).ready


def test_a_missing_package_names_the_extra(monkeypatch) -> None:
    monkeypatch.setattr("symadj.packages.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"river.*pip install 'symadj\[tabular\]'"):
        Shuttle()
    assert Shuttle.state(Path()).todo == "pip install 'symadj[tabular]'"
