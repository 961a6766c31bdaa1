"""Figures of what a flow has learned: images beside samples, a density beside its samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from symadj.data.base import VectorData

Array = NDArray[np.floating]


def sample_sheet(
    real: Array,
    sampled: Array,
    *,
    real_label: str = "real",
    sampled_label: str = "sampled",
    classes: Sequence[int] = (),
) -> Figure:
    """Two sheets of images side by side, each as square as its number of images allows.

    Args:
        real: [n, height, width], values in [0, 1]; 1 is drawn black.
        sampled: [m, height, width].
        real_label: title of the left sheet.
        sampled_label: title of the right one.
        classes: of the sheets' rows, which have as many images each; none: rows mean nothing.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.subplots(1, 2)
    pairs = ((real, real_label), (sampled, sampled_label))
    for ax, (images, label) in zip(axes, pairs, strict=True):
        sheet = tile(images, columns=len(images) // len(classes) if classes else None)
        ax.imshow(sheet, cmap="gray_r", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(label)
        ax.set_xticks([])
        height = (len(sheet) - 1) / max(1, len(classes))
        ax.set_yticks([height * (i + 0.5) for i in range(len(classes))], list(classes))
    return figure


def sample_figure(data: VectorData, drawn: Tensor, labels: Tensor | None = None) -> Figure:
    """Samples beside as many rows of the test split: as images, or in their first two coordinates.

    Args:
        data: what the flow was trained on.
        drawn: [n, dim].
        labels: the classes of the samples, [n]; images then have a row for each, beside those of
            the test split; None: they have none.
    """
    real = data.test[: len(drawn)]
    if data.image_shape is not None:
        classes = [] if labels is None else labels.unique().tolist()
        images, of_real = data.to_images(drawn), data.to_images(real)
        if labels is not None:
            most = int(labels.bincount().max())
            images = by_class(images, labels, classes, most)
            of_real = by_class(data.to_images(data.test), data.labels["test"], classes, most)
        one = f", class {classes[0]}" if len(classes) == 1 else ""
        return sample_sheet(
            of_real.numpy(),
            images.numpy(),
            real_label=f"{data.name}: real (test split){one}",
            sampled_label=f"{data.name}: sampled from the flow{one}",
            classes=classes if len(classes) > 1 else (),
        )
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    names = (*data.columns, *(f"x{i + 1}" for i in range(len(data.columns), 2)))
    for ax, points, title in (
        (left, real, f"{data.name}: test split ({len(real)})"),
        (right, drawn, f"samples of the flow ({len(drawn)})"),
    ):
        if data.dim == 1:
            ax.hist(points[:, 0].numpy(), bins=40, density=True)
            ax.set_ylabel("density")
        else:
            _scatter(ax, points.numpy(), "")
            ax.set_ylabel(names[1])
        ax.set_title(title)
        ax.set_xlabel(names[0])
    return figure


def by_class(images: Tensor, labels: Tensor, classes: Sequence[int], columns: int) -> Tensor:
    """The first `columns` images [n, ...] of every class; empty (0) ones where there are fewer."""
    sheet = images.new_zeros(len(classes), columns, *images.shape[1:])
    for row, one in zip(sheet, classes, strict=True):
        found = images[labels == one][:columns]
        row[: len(found)] = found
    return sheet.flatten(0, 1)


def tile(images: Array, margin: int = 1, columns: int | None = None) -> Array:
    """Images [n, height, width] as one [H, W]: rows of `columns`, with empty (0) margins.

    None: rows of ceil(sqrt(n)).
    """
    n, height, width = images.shape
    columns = columns or int(np.ceil(np.sqrt(n)))
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, height + margin, width + margin), dtype=images.dtype)
    sheet[:n, :height, :width] = images
    grid = sheet.reshape(rows, columns, height + margin, width + margin)
    whole = grid.transpose(0, 2, 1, 3).reshape(rows * (height + margin), -1)
    return np.pad(whole, ((margin, 0), (margin, 0)))


def density_map(
    data: Array,
    density: Array,
    extent: tuple[float, float, float, float],
    samples: Array,
    labels: tuple[str, str] = ("x1", "x2"),
) -> Figure:
    """Data points, samples of the flow and its density, over the same part of the plane.

    A few cells of high density, such as a seam that the flow has not opened, must not leave all
    others dark: the colours end at the density that 1 cell in 200 is above.

    Args:
        data: [n, 2].
        density: [rows, columns] over the extent, x along the columns, y upwards along the rows.
        extent: (x from, x to, y from, y to) of the density's outer edges.
        samples: [m, 2].
        labels: of the two axes.
    """
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _scatter(left, data, f"data ({len(data)} points)")
    _scatter(middle, samples, f"samples of the flow ({len(samples)})")
    top, peak = float(np.quantile(density, 0.995)), float(density.max())
    top = top if top > 0 else peak
    image = right.imshow(density, extent=extent, origin="lower", cmap="viridis", vmin=0, vmax=top)
    right.set_title("density of the flow")
    beyond = "max" if peak > top else "neither"
    figure.colorbar(image, ax=right, label="p(x)", shrink=0.85, extend=beyond)
    for ax in (left, middle, right):
        ax.set_xlim(extent[0], extent[1])
        ax.set_ylim(extent[2], extent[3])
        ax.set_aspect("equal")
        ax.set_xlabel(labels[0])
        ax.set_ylabel(labels[1])
    return figure


def _scatter(ax: Axes, points: Array, title: str) -> None:
    ax.scatter(points[:, 0], points[:, 1], s=2, alpha=0.5, linewidths=0, rasterized=True)
    ax.set_title(title)
