"""Conditional flow matching: a velocity field from noise to data, trained without any solve."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from matplotlib.figure import Figure
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.base import Batch, VectorData
from symadj.errors import InputError, suggest
from symadj.figures.flow import sample_figure
from symadj.models.velocity import GuidedVelocity, Velocity, flow_of, transport
from symadj.ranges import require
from symadj.share import drawn
from symadj.tasks.base import Task
from symadj.tasks.density import SHEET, normal, plane

COUPLINGS = ("independent", "optimal_transport")
PER_CLASS = 10
"""Samples of each class in the picture of a training."""

EXACT = 16
"""Entries of a point up to which a test's trace is exact unless the task is told: every one of them
costs a vector-Jacobian product of a network that is larger than those of `symadj.tasks.density`."""

DRAWS = 4
"""Times and noises of every row in a validation, whose loss would else be mostly their chance."""

ASSIGNED = 128
"""Rows of an assignment in a validation, as many as a usual batch of training has: the pairs, and
so the least loss, depend on it, and its time grows by the third power."""


class FlowMatching(Task):
    """Regression on the velocity of straight lines from noise x_0 ~ N(0, I) to data x_1.

    With t from [0, 1] and s = sigma_min,

        x_t = (1 - (1 - s) t) x_0 + t x_1,    u = x_1 - (1 - s) x_0,

    the loss is the mean over the batch and over the entries of (v(t, x_t | label) - u)^2, whose
    minimum over v is the velocity that carries the normal density to that of the data (Lipman et
    al. 2023, arXiv:2210.02747; Liu et al. 2023, arXiv:2209.03003; Tong et al. 2024,
    arXiv:2302.00482). Training makes no solve: solver and gradient method are those of samples,
    likelihoods and of what is differentiated through them.

    Noise and data of a batch are paired at random, or so that the sum of |x_1 - x_0|^2 is least
    (minibatch optimal transport; Pooladian et al. 2023, arXiv:2304.14772). Rows with labels are
    assigned among those of their class: else the noise of a class would not be normal any more,
    and what is sampled from normal noise not that class. With several devices each assigns its own
    rows.

    Where the data have labels and the model has classes the velocity is conditional; a label is
    left out with probability `class_dropout`, so that classifier-free guidance has a velocity of
    no class to start from.

    The test computes -log p(x) of the continuous normalizing flow that the velocity is, by the
    run's solver (see `symadj.models.velocity.flow_of`): "nll" and "bits_per_dim" without classes,
    as a flow trained by maximum likelihood has them, and "class_nll" and "class_bits_per_dim" of
    -log p(x | label). Without dropout the first two do not exist.

    Args:
        coupling: of `COUPLINGS`.
        times: of `TIMES`: "uniform", or "logit_normal", 1 / (1 + exp(-n)) with n ~ N(0, 1), which
            has more of the times where the regression is hard (Esser et al. 2024,
            arXiv:2403.03206).
        sigma_min: s, the deviation of the noise that is left at t = 1.
        class_dropout: the part of the labels that training leaves out.
        guidance: of samples with a class, unless another is asked for (see `GuidedVelocity`).
        likelihood_rows: first rows of a split whose likelihood a test computes; None: all.
        exact_test: whether the trace of the test is exact, by d products an evaluation, or
            estimated; None: exact for points of at most `EXACT` entries.

    Attributes:
        guidance: as given.
        exact_test: as given; None is decided when the model is known, by `bind`.

    Raises:
        InputError: an unknown name or a number out of its range.
    """

    monitor = "loss"
    solves = False

    def __init__(
        self,
        coupling: str = "independent",
        times: str = "uniform",
        sigma_min: float = 0.0,
        class_dropout: float = 0.1,
        guidance: float = 2.0,
        likelihood_rows: int | None = None,
        exact_test: bool | None = None,
    ) -> None:
        if coupling not in COUPLINGS:
            raise InputError(f"unknown coupling={coupling!r}.{suggest(coupling, COUPLINGS)}")
        if times not in TIMES:
            raise InputError(f"unknown times={times!r}.{suggest(times, TIMES)}")
        require(
            "task",
            sigma_min=sigma_min,
            class_dropout=class_dropout,
            guidance=guidance,
            likelihood_rows=likelihood_rows,
        )
        self.couples = coupling == "optimal_transport"
        self.times = TIMES[times]
        self.sigma_min = sigma_min
        self.class_dropout = class_dropout
        self.guidance = guidance
        self.likelihood_rows = likelihood_rows
        self.exact_test = exact_test
        self.labelled = False

    def bind(self, data: Any, model: nn.Module, integrator: Integrator) -> None:
        """Refuses, before any training, what it cannot learn from or with.

        Raises:
            InputError: data that are no vectors, a model that is no velocity, or not of such data,
                or classes that the data do not have.
        """
        if not isinstance(data, VectorData):
            raise InputError(
                f"task=flow_matching learns from points, and data={getattr(data, 'name', data)} "
                "has none. Take data=digits, toy2d, mnist5k, patches, csv or another set of "
                "vectors; of trajectories learns task=physics."
            )
        if not isinstance(model, Velocity):
            raise InputError(
                f"task=flow_matching trains a velocity field, and {type(model).__name__} is none. "
                "Take model=velocity_mlp, model=velocity_unet for images, or a class of your own "
                "that derives from symadj.models.velocity.Velocity."
            )
        if math.prod(model.data_shape) != data.dim:
            raise InputError(
                f"the model has samples of shape {model.data_shape}, and those of {data.name} have "
                f"{data.dim} entries. Leave model.image_shape at null."
            )
        if model.classes and not data.labels:
            raise InputError(
                f"model.classes={model.classes}, and {data.name} has no labels. Take data that "
                "have (data=digits, data=mnist5k), or model.classes=0."
            )
        if model.classes and model.classes != data.classes:
            raise InputError(
                f"model.classes={model.classes}, and {data.name} has {data.classes} classes. Leave "
                "model.classes at null, or take 0: none."
            )
        self.labelled = model.classes > 0
        if self.exact_test is None:
            self.exact_test = data.dim <= EXACT

    def sample_batch(self, data: VectorData, n: int, generator: torch.Generator) -> Batch:
        """n rows, with their labels where the velocity is conditional."""
        return (data.sample_labelled if self.labelled else data.sample_batch)(n, generator)

    def split(self, data: VectorData, name: str) -> Batch:
        """A split's rows, with their labels where the velocity is conditional."""
        rows = getattr(data, name)
        return (rows, data.labels[name]) if self.labelled else rows

    def loss(self, model: Velocity, batch: Batch, integrator: Integrator) -> Tensor:
        """The loss of rows [B, dim], or of rows and labels [B], a scalar; nothing is solved."""
        x, label = _parted(batch)
        if label is not None and self.class_dropout:
            kept = drawn(label.shape, lambda shape: torch.rand(shape, device=x.device))
            label = torch.where(kept < self.class_dropout, model.classes, label)
        return self._squares(model, x, label).mean()

    def evaluate(
        self,
        model: Velocity,
        x: Batch,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """ "loss", with `DRAWS` times and noises for every row and no label left out."""
        rows, labels = _parted(x)
        size = min(batch_size, ASSIGNED) if self.couples else batch_size
        total = 0.0
        with torch.no_grad():
            for _ in range(DRAWS):
                for part in torch.arange(len(rows), device=rows.device).split(size):
                    label = None if labels is None else labels[part]
                    total += self._squares(model, rows[part], label).double().sum().item()
        return {"loss": total / (DRAWS * rows.numel())}

    def test(
        self,
        model: Velocity,
        x: Batch,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """The loss of all rows, and the likelihoods of the first `likelihood_rows`."""
        metrics = self.evaluate(model, x, data, integrator, batch_size)
        rows, labels = _parted(x)
        rows = rows[: self.likelihood_rows]
        if not len(rows):
            return metrics
        if labels is None or self.class_dropout:
            metrics |= self._likelihood(model, rows, None, data, integrator, batch_size)
        if labels is not None:
            found = self._likelihood(model, rows, labels, data, integrator, batch_size)
            metrics |= {f"class_{name}": value for name, value in found.items()}
        return metrics

    def test_notes(self) -> dict[str, str]:
        """How the test's trace was computed."""
        return {"test_trace": "exact" if self.exact_test else "estimate"}

    def sample(
        self,
        model: Velocity,
        z: Tensor,
        integrator: Integrator,
        labels: Tensor | None = None,
        guidance: float | None = None,
    ) -> Tensor:
        """Samples [n, dim] from normal variables z [n, dim].

        Args:
            model: the velocity.
            z: where they start.
            integrator: solver and gradient method.
            labels: the class of every sample, [n]; None: none.
            guidance: as `GuidedVelocity` has it; None: the task's own, where there are labels and
                some were left out in training.

        Raises:
            InputError: a label that is no class, a guidance without classes, or no class where
                every row of the training had one.
        """
        always = model.classes > 0 and self.class_dropout == 0
        if guidance is None:
            guidance = 1.0 if labels is None or always else self.guidance
        if always and (labels is None or guidance != 1):
            raise InputError(
                "the model was trained with task.class_dropout=0, so that it has no velocity of no "
                "class, which samples without one, and any guidance but 1, need."
            )
        return transport(GuidedVelocity(model, labels, guidance), z, integrator)

    def figures(
        self,
        model: Velocity,
        data: VectorData,
        integrator: Integrator,
        generator: torch.Generator,
    ) -> dict[str, Figure]:
        """Pictures by file stem, as those of task=density; images with a row for each class."""
        with torch.no_grad():
            if data.image_shape is not None:
                classes = model.classes
                labels = torch.arange(classes).repeat_interleave(PER_CLASS) if classes else None
                n = SHEET if labels is None else len(labels)
                z = normal(n, data.dim, next(model.parameters()), generator)
                samples = self.sample(model, z, integrator, labels).cpu()
                return {"samples": sample_figure(data, samples, labels)}
            if data.dim == 2:
                flow = flow_of(GuidedVelocity(model))
                return {"density": plane(flow, data, integrator, generator)}
        return {}

    def _squares(self, model: Velocity, x1: Tensor, label: Tensor | None) -> Tensor:
        """(v - u)^2 of every entry [B, dim] at times and noises that are drawn here."""
        x0 = drawn(x1.shape, lambda shape: torch.randn(shape, dtype=x1.dtype, device=x1.device))
        t = drawn(x1.shape[:1], lambda shape: self.times(shape, x1))
        if self.couples:
            x0 = _assigned(x0, x1, label)
        kept = 1 - self.sigma_min
        at = t.unsqueeze(-1)
        x = (1 - kept * at) * x0 + at * x1
        return (model(t, x, label) - (x1 - kept * x0)).square()

    def _likelihood(
        self,
        model: Velocity,
        rows: Tensor,
        labels: Tensor | None,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        nll = bits = 0.0
        with torch.no_grad():
            for part in torch.arange(len(rows), device=rows.device).split(batch_size):
                x, label = rows[part], None if labels is None else labels[part]
                flow = flow_of(GuidedVelocity(model, label))
                log_prob = flow.log_prob(x, integrator, exact=bool(self.exact_test))
                nll -= log_prob.double().sum().item()
                bits += data.bits_per_dim(x, log_prob).double().sum().item()
        return {"nll": nll / len(rows), "bits_per_dim": bits / len(rows)}


def _parted(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Rows, and their labels where there are any."""
    if isinstance(batch, Tensor):
        return batch, None
    return cast("tuple[Tensor, Tensor]", batch)


def _assigned(x0: Tensor, x1: Tensor, label: Tensor | None) -> Tensor:
    """The rows of x0 in the order in which the sum of |x1 - x0|^2 is least, class by class."""
    found = torch.empty_like(x0)
    groups = [torch.arange(len(x1), device=x1.device)]
    if label is not None:
        groups = [(label == one).nonzero()[:, 0] for one in label.unique()]
    for group in groups:
        costs = torch.cdist(x1[group].double(), x0[group].double()).square()
        _, order = linear_sum_assignment(costs.cpu().numpy())
        found[group] = x0[group[torch.from_numpy(order).to(group.device)]]
    return found


def _uniform(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.rand(shape, dtype=like.dtype, device=like.device)


def _logit_normal(shape: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device).sigmoid()


TIMES: dict[str, Callable[[tuple[int, ...], Tensor], Tensor]] = {
    "uniform": _uniform,
    "logit_normal": _logit_normal,
}
