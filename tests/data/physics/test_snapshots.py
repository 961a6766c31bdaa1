from __future__ import annotations

import pytest
import torch

from symadj.data.physics.snapshots import SnapshotData, window_count, windows
from symadj.errors import InputError


def numbered(n: int = 3, snapshots: int = 5) -> torch.Tensor:
    """Every state is (trajectory, snapshot)."""
    grid = torch.meshgrid(torch.arange(n), torch.arange(snapshots), indexing="ij")
    return torch.stack(grid, dim=-1).double()


def data(horizon: int = 1, snapshots: int = 5) -> SnapshotData:
    u = numbered(3, snapshots)
    return SnapshotData("numbers", (u, u[:1], u[:1]), 0.1, horizon=horizon)


def test_all_windows_are_consecutive_snapshots_of_one_trajectory() -> None:
    u = numbered()
    assert window_count(u, 2) == 9
    found = windows(u, 2, torch.arange(9))
    assert found.shape == (9, 3, 2)
    assert found[:, 0].tolist() == [[i, j] for i in range(3) for j in range(3)]
    assert (found[:, 1:, 0] == found[:, :1, 0]).all()
    assert (found[..., 1].diff(dim=1) == 1).all()


def test_a_batch_is_of_different_windows_and_repeats_with_its_generator() -> None:
    first = data().sample_batch(8, torch.Generator().manual_seed(3))
    assert first.shape == (8, 2, 2)
    assert len({tuple(w.flatten().tolist()) for w in first}) == 8
    assert torch.equal(first, data().sample_batch(8, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, data().sample_batch(8, torch.Generator().manual_seed(4)))


def test_a_batch_of_all_windows_or_more_is_the_full_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    state = generator.get_state()
    batch = data(horizon=4).sample_batch(1000, generator)
    assert torch.equal(batch, numbered())
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("horizon", [0, 5, 9])
def test_a_horizon_that_does_not_fit_is_refused(horizon: int) -> None:
    with pytest.raises(InputError, match=f"horizon={horizon} with 5 snapshots.*1 to 4"):
        data(horizon)


def test_data_without_a_system_offer_their_dimension_only() -> None:
    assert data().model_arguments() == {"dim": 2}
    assert not data().known
    assert data().system.invariants(numbered()) == {}
