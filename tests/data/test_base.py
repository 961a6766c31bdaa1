"""The defaults that every data set of vectors shares."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from symadj.data.base import Batch, VectorData, batch_size, map_batch, place_batch, split_rows
from symadj.errors import InputError


def rows(n: int, dim: int = 2) -> torch.Tensor:
    return torch.arange(n * dim, dtype=torch.float64).reshape(n, dim)


def test_a_batch_is_rows_of_train_drawn_by_the_generator() -> None:
    data = VectorData("rows", rows(5), rows(2) + 100, rows(2) + 200)
    batch = data.sample_batch(400, torch.Generator().manual_seed(0))
    assert torch.equal(batch.unique(dim=0), data.train)
    assert torch.equal(batch, data.sample_batch(400, torch.Generator().manual_seed(0)))
    assert data.dim == 2


def test_splits_are_rounded_where_they_are_wider_than_asked_for() -> None:
    wide, whole = rows(5) / 3, rows(2).to(torch.int64)
    data = VectorData("rows", wide, wide.float(), whole)
    data.round_to(torch.float64)
    assert torch.equal(data.train, wide)
    assert [s.dtype for s in (data.val, data.test)] == [torch.float32, torch.float32]
    data.round_to(torch.float32)
    assert torch.equal(data.train, wide.float())
    assert data.train.dtype == torch.float32


def test_bits_per_dim_of_nats() -> None:
    data = VectorData("rows", rows(5, 4), rows(2, 4), rows(2, 4))
    bits = data.bits_per_dim(data.test, torch.tensor([-4 * math.log(2), 0.0]))
    torch.testing.assert_close(bits, torch.tensor([1.0, 0.0]))


def test_vectors_are_no_images_unless_a_data_set_says_so() -> None:
    data = VectorData("rows", rows(5), rows(2), rows(2))
    assert data.image_shape is None
    with pytest.raises(NotImplementedError, match="rows"):
        data.to_images(data.test)


@pytest.mark.parametrize(
    ("shown", "offered"), [(None, None), ((2, 3), (2, 3)), ((6, 1), (6, 1)), ((2, 4), None)]
)
def test_a_model_is_offered_images_that_the_vectors_hold_whole(
    shown: tuple[int, int] | None, offered: tuple[int, int] | None
) -> None:
    data = VectorData("rows", rows(5, 6), rows(2, 6), rows(2, 6))
    data.image_shape = shown
    assert data.model_arguments() == {"dim": 6, "classes": 0, "image_shape": offered}


@pytest.mark.parametrize(("n", "sizes"), [(10, (8, 1, 1)), (1797, (1439, 179, 179))])
def test_split_rows_cuts_every_row_into_one_split(n: int, sizes: tuple[int, ...]) -> None:
    splits = split_rows(rows(n), seed=5)
    assert tuple(map(len, splits)) == sizes
    assert torch.equal(torch.cat(splits).sort(dim=0).values, rows(n))
    assert not torch.equal(torch.cat(splits), rows(n))
    assert all(torch.equal(a, b) for a, b in zip(splits, split_rows(rows(n), 5), strict=True))
    assert not torch.equal(torch.cat(splits), torch.cat(split_rows(rows(n), 6)))


def test_what_is_done_to_a_batch_is_done_to_every_tensor_in_it() -> None:
    batch: Batch = {"x": torch.ones(3, 2), "more": (torch.zeros(3), torch.arange(3))}
    assert batch_size(batch) == 3
    placed: Any = place_batch(batch, torch.float64)
    assert [placed["x"].dtype, *(x.dtype for x in placed["more"])] == [
        torch.float64,
        torch.float64,
        torch.int64,
    ]
    cut: Any = map_batch(lambda x: x[:2], batch)
    assert (len(cut["x"]), cut["more"][1].tolist()) == (2, [0, 1])


def labelled() -> VectorData:
    data = VectorData("rows", rows(5), rows(2) + 100, rows(2) + 200)
    data.set_labels(torch.tensor([0, 1, 2, 1, 0]), torch.tensor([3, 0]), torch.tensor([1, 1]))
    return data


def test_a_labelled_batch_is_the_batch_with_the_labels_of_its_rows() -> None:
    data = labelled()
    x, labels = data.sample_labelled(50, torch.Generator().manual_seed(0))
    assert torch.equal(x, data.sample_batch(50, torch.Generator().manual_seed(0)))
    assert torch.equal(labels, data.labels["train"][(x[:, 0] / 2).long()])
    assert data.classes == 4
    assert data.model_arguments()["classes"] == 4


def test_data_without_labels_have_no_labelled_batch() -> None:
    data = VectorData("rows", rows(5), rows(2), rows(2))
    assert (data.classes, dict(data.labels)) == (0, {})
    with pytest.raises(InputError, match="rows has no labels"):
        data.sample_labelled(5, torch.Generator())


@pytest.mark.parametrize(
    "wrong", [torch.tensor([0, 1]), torch.tensor([0.0] * 5), torch.tensor([-1, 0, 0, 0, 0])]
)
def test_labels_are_one_class_for_every_row(wrong: torch.Tensor) -> None:
    data = VectorData("rows", rows(5), rows(2), rows(2))
    with pytest.raises(InputError, match="labels of train"):
        data.set_labels(wrong, torch.tensor([0, 0]), torch.tensor([0, 0]))
