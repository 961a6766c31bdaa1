"""Density estimation: the negative log-likelihood of a flow, and pictures of what it learned."""

from __future__ import annotations

from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.base import VectorData
from symadj.data.physics.snapshots import SnapshotData
from symadj.errors import InputError
from symadj.figures.flow import density_map, sample_figure
from symadj.models.cnf import ContinuousFlow, standard_normal_logprob
from symadj.ranges import require
from symadj.tasks.base import Task

SHEET = 64
POINTS = 3000
GRID = 120
# Entries of a point up to which a test's trace is exact unless the task is told: the tables of the
# literature have at most 63, the smallest images 64, and 28x28 pixels would take 784 products.
EXACT = 256


class Density(Task):
    """Maximum likelihood, on a way that may be kept short and straight.

    The loss is the mean over the batch of

        -log p(x) + kinetic * K(x) + jacobian * J(x)

    with -log p in nats and, over the way z(t) of a point through all components,

        K = integral of |f(t, z)|^2 dt,    J = integral of |df/dz|_F^2 dt,

    sums over all entries, K in squared units of the (standardised) data over time, J over time;
    J is estimated with the noise of the trace, where that is estimated (Finlay et al. 2020,
    arXiv:2002.02798). Their program divides all three terms by the number of entries, which leaves
    the weights as they are, takes bits and halves K: its weights lambda_K, lambda_J are here
    kinetic = lambda_K log(2) / 2 and jacobian = lambda_J log(2).
    Metrics are of -log p alone.

    Args:
        kinetic: weight of K; 0: K is not computed.
        jacobian: weight of J; 0: J is not computed.
        exact_test: whether the test's trace is exact, d products an evaluation, or estimated as in
            training; None: exact for points of at most `EXACT` entries. FFJORD's tables test
            exactly, its images by the estimate.

    Attributes:
        exact_test: as given; None is decided when the data are known, by `bind`.
        monitor: the metric whose minimum on the validation split chooses the weights.

    Raises:
        InputError: a weight that is negative or not finite.
    """

    monitor = "nll"

    def __init__(
        self, exact_test: bool | None = None, kinetic: float = 0.0, jacobian: float = 0.0
    ) -> None:
        self.exact_test = exact_test
        weights = {"kinetic": kinetic, "jacobian": jacobian}
        require("task", **weights)
        self.weights = {name: weight for name, weight in weights.items() if weight}

    def bind(self, data: object, model: nn.Module, integrator: Integrator) -> None:
        """Refuses, before any training, what has no density.

        Raises:
            InputError: the data are trajectories, or the model has no `log_prob`, or no `carry`
                where K or J is asked for.
        """
        if isinstance(data, SnapshotData):
            raise InputError(
                f"task=density learns from points, and data={data.name} are trajectories. Take "
                "task=physics."
            )
        if not hasattr(model, "log_prob"):
            raise InputError(
                f"task=density needs a model with a density, and {type(model).__name__} has none. "
                "Take model=cnf, or task=physics."
            )
        if self.weights and not hasattr(model, "carry"):
            raise InputError(
                f"task.{next(iter(self.weights))} needs a flow that integrates costs, and "
                f"{type(model).__name__} does not. Take model=cnf, or weights of 0."
            )
        if self.exact_test is None:
            self.exact_test = cast("VectorData", data).dim <= EXACT

    def loss(self, model: ContinuousFlow, batch: Tensor, integrator: Integrator) -> Tensor:
        """The loss of a batch [B, dim], a scalar: in nats, where both weights are 0."""
        if not self.weights:
            return -model.log_prob(batch, integrator).mean()
        z, (delta_logp, *costs) = model.carry(batch, integrator, tuple(self.weights))
        nll = (delta_logp - standard_normal_logprob(z)).mean()
        weighted = zip(self.weights.values(), costs, strict=True)
        return nll + sum(weight * cost.mean() for weight, cost in weighted)

    def evaluate(
        self,
        model: ContinuousFlow,
        x: Tensor,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """Means over all rows of x [n, dim], with the model's own trace: see `_means`."""
        return _means(model, x, data, integrator, batch_size, exact=False)

    def test(
        self,
        model: ContinuousFlow,
        x: Tensor,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """Means over all rows of x [n, dim], with the trace that `exact_test` says."""
        return _means(model, x, data, integrator, batch_size, exact=self.exact_test is not False)

    def test_notes(self) -> dict[str, str]:
        """How the test's trace was computed."""
        return {"test_trace": "estimate" if self.exact_test is False else "exact"}

    def figures(
        self,
        model: ContinuousFlow,
        data: VectorData,
        integrator: Integrator,
        generator: torch.Generator,
    ) -> dict[str, Figure]:
        """Pictures by file stem: "samples" of images, "density" of points in a plane, else none.

        Args:
            model: the flow.
            data: what it was trained on.
            integrator: solver.
            generator: of the samples.
        """
        with torch.no_grad():
            if data.image_shape is not None:
                drawn = sample(model, SHEET, data.dim, integrator, generator).cpu()
                return {"samples": sample_figure(data, drawn)}
            if data.dim == 2:
                return {"density": _plane(model, data, integrator, generator)}
        return {}


def _means(
    model: ContinuousFlow,
    x: Tensor,
    data: VectorData,
    integrator: Integrator,
    batch_size: int,
    exact: bool,
) -> dict[str, float]:
    """Means over all rows of x [n, dim], without gradients: "nll" in nats, "bits_per_dim"."""
    nll = bits = 0.0
    with torch.no_grad():
        for batch in x.split(batch_size):
            log_prob = model.log_prob(batch, integrator, exact)
            nll -= log_prob.double().sum().item()
            bits += data.bits_per_dim(batch, log_prob).double().sum().item()
    return {"nll": nll / len(x), "bits_per_dim": bits / len(x)}


def sample(
    model: ContinuousFlow, n: int, dim: int, integrator: Integrator, generator: torch.Generator
) -> Tensor:
    """n samples of the flow [n, dim]."""
    like = next(model.parameters())
    z = torch.randn(n, dim, generator=generator, dtype=like.dtype, device=generator.device)
    return model.inverse(z.to(like.device), integrator)


def _plane(
    model: ContinuousFlow, data: VectorData, integrator: Integrator, generator: torch.Generator
) -> Figure:
    points = data.test[:POINTS]
    samples = sample(model, POINTS, 2, integrator, generator).cpu()
    extent, cells = _cells(points)
    like = next(model.parameters())
    log_prob = model.log_prob(cells.to(like), integrator, exact=True)
    density = log_prob.exp().reshape(GRID, GRID).cpu()
    names = data.columns or ("x1", "x2")
    return density_map(
        points.numpy(), density.numpy(), extent, samples.numpy(), labels=(names[0], names[1])
    )


def _cells(points: Tensor) -> tuple[tuple[float, float, float, float], Tensor]:
    """A square that holds the points with a margin, and the centres of its cells [GRID^2, 2]."""
    low, high = points.amin(0), points.amax(0)
    half = 0.55 * float((high - low).amax())
    x, y = ((low + high) / 2).tolist()
    steps = (torch.arange(GRID) + 0.5) / GRID * 2 - 1
    rows, columns = torch.meshgrid(y + half * steps, x + half * steps, indexing="ij")
    cells = torch.stack([columns, rows], dim=-1).reshape(-1, 2)
    return (x - half, x + half, y - half, y + half), cells
