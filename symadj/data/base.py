"""What every data set has, and what those of vectors have: splits, batches, bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, Union

import torch
from torch import Tensor

from symadj.errors import InputError

Batch = Union[Tensor, tuple["Batch", ...], dict[str, "Batch"]]  # noqa: UP007
"""Tensors whose first dimension is the batch: one, or any nest of them."""


def map_batch(function: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """The batch with function(x) in place of every tensor x."""
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, dict):
        return {name: map_batch(function, part) for name, part in batch.items()}
    return tuple(map_batch(function, part) for part in batch)


def batch_size(batch: Batch) -> int:
    """The number of samples in a batch."""
    while not isinstance(batch, Tensor):
        batch = next(iter(batch.values() if isinstance(batch, dict) else batch))
    return len(batch)


def place_batch(batch: Batch, dtype: torch.dtype, device: torch.device | None = None) -> Batch:
    """The batch on a device (None: where it is); its floating point numbers in a dtype."""

    def place(x: Tensor) -> Tensor:
        return x.to(device=device, dtype=dtype if x.is_floating_point() else None)

    return map_batch(place, batch)


class Data(Protocol):
    """A data set, as the runner knows it.

    Attributes:
        name: shown in tables and in the header of a run.
        dim: entries of a sample.
        note: one line: what the data are, and whether they stand in for others.
        train, val, test: the splits, samples in the first dimension.
        draws_rows: whether a training batch is drawn from the rows of `train`, so that it should
            not have more of them; not where its points are made afresh.
        file: the user's own file that they were read from; None: they come from elsewhere.
    """

    name: str
    dim: int
    note: str
    train: Any
    val: Any
    test: Any
    draws_rows: bool = False
    file: Path | None = None

    def sample_batch(self, n: int, generator: torch.Generator) -> Batch:
        """A training batch of n samples, drawn with the generator."""
        ...

    def model_arguments(self) -> dict[str, Any]:
        """What the data offer to a model's constructor."""
        return {"dim": self.dim}


class VectorData(Data):
    """Vectors in three splits.

    A subclass loads its rows and passes them on; it overrides `sample_batch` where a training batch
    is no rows of `train`, or `training_rows` where these are more than they are in `train`, calls
    `set_labels` where every row has a class, and sets `image_shape` with `pixels` where a row is an
    image.

    Attributes:
        name: shown in tables and in the header of a run.
        dim: entries of a vector.
        train, val, test: [n, dim]; float64 if they were given so, until `round_to`; else float32.
        note: one line: what the data are, and whether they stand in for others.
        columns: the entries' names, where they have any.
        image_shape: (height, width) of a vector shown as an image; None: it is none.
        draws_rows: as `Data`.
        classes: the labels are 0 to classes - 1; 0: there are none.
        labels: int64 [n] for the rows of every split, by its name; empty where there are none.
    """

    draws_rows: bool = True
    image_shape: tuple[int, int] | None = None
    classes: int = 0
    labels: Mapping[str, Tensor] = MappingProxyType({})

    def __init__(
        self,
        name: str,
        train: Tensor,
        val: Tensor,
        test: Tensor,
        note: str = "",
        columns: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.train, self.val, self.test = map(_real, (train, val, test))
        self.dim = int(train.shape[-1])
        self.note = note
        self.columns = tuple(columns)

    def round_to(self, dtype: torch.dtype) -> None:
        """Keeps the splits in dtype where they are wider, so that they take no more memory.

        A narrower split stays as it is: its batches lose nothing when they are widened.
        """
        for name in ("train", "val", "test"):
            split: Tensor = getattr(self, name)
            if split.dtype.itemsize > dtype.itemsize:
                setattr(self, name, split.to(dtype))

    def set_labels(self, *labels: Tensor) -> None:
        """Gives the rows of train, val and test their classes, whole numbers [n] from 0 on.

        Raises:
            InputError: not one for every row, or numbers that are no classes.
        """
        splits = dict(zip(("train", "val", "test"), labels, strict=True))
        for name, given in splits.items():
            rows = len(getattr(self, name))
            if given.shape != (rows,) or given.is_floating_point() or int(given.min()) < 0:
                raise InputError(
                    f"labels of {name}: {given.dtype} of shape {tuple(given.shape)} for {rows} "
                    "rows; one whole number from 0 on is needed for each."
                )
        self.labels = {name: given.to(torch.int64) for name, given in splits.items()}
        self.classes = 1 + max(int(given.max()) for given in labels)

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        """n rows of the training split [n, dim], drawn with replacement."""
        return self.training_rows(self._draw_rows(n, generator), generator)

    def sample_labelled(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same n rows [n, dim] with their labels [n].

        Raises:
            InputError: the data have no labels.
        """
        if not self.labels:
            raise InputError(f"{self.name} has no labels.")
        rows = self._draw_rows(n, generator)
        return self.training_rows(rows, generator), self.labels["train"][rows]

    def training_rows(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The rows of the training split with these numbers, as a batch has them."""
        return self.train[rows]

    def _draw_rows(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.randint(len(self.train), (n,), generator=generator)

    def model_arguments(self) -> dict[str, Any]:
        """What a model may need to know of the data: `dim`, `classes` and `image_shape`.

        A shape of images that a vector does not hold whole is not offered: it is None then.
        """
        shape = self.image_shape
        whole = shape is not None and math.prod(shape) == self.dim
        image_shape = shape if whole else None
        return {"dim": self.dim, "classes": self.classes, "image_shape": image_shape}

    def bits_per_dim(self, x: Tensor, log_prob: Tensor) -> Tensor:
        """-log p / (dim ln 2) for every sample.

        Args:
            x: [n, dim].
            log_prob: the model's log density at x in nats, [n].
        """
        return -log_prob / (self.dim * math.log(2))

    def to_images(self, x: Tensor) -> Tensor:
        """Vectors [n, dim] as images [n, height, width] with values in [0, 1].

        Raises:
            NotImplementedError: the data are no images.
        """
        return self.pixels(x).clamp(0, 1)

    def pixels(self, x: Tensor) -> Tensor:
        """As `to_images`, and not clipped: 0 to 1 in the data, differentiable everywhere.

        Raises:
            NotImplementedError: the data are no images.
        """
        raise NotImplementedError(f"{self.name} holds no images")


def _real(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.to(torch.float32)


def split_sizes(n: int) -> tuple[int, int, int]:
    """Rows of the training, validation and test split: 80/10/10, the last two rounded down."""
    tenth = n // 10
    return n - 2 * tenth, tenth, tenth


def split_rows(x: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """The rows in an order drawn from the seed, cut into training, validation and test split."""
    generator = torch.Generator().manual_seed(seed)
    shuffled = x[torch.randperm(len(x), generator=generator)]
    train, val, test = shuffled.split(split_sizes(len(x)))
    return train, val, test
