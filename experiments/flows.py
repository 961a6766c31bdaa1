"""What the experiments with flows share: methods, baselines of an NLL, points with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from sklearn.covariance import EmpiricalCovariance, LedoitWolf
from torch import Tensor
from torch.distributions import MultivariateNormal

from harness.paired import interval
from harness.rows import ADJOINT_FULL, rows_setting
from symadj.calls.integrator import Integrator
from symadj.data.base import VectorData
from symadj.figures.style import Style
from symadj.models.cnf import ContinuousFlow, standard_normal_logprob
from symadj.report.frames import column, numbers
from symadj.report.names import ordered
from symadj.tasks.density import Density

METHODS: Mapping[str, tuple[str, ...]] = {
    "adjoint": ("grad=adjoint",),
    "adjoint_full": tuple(ADJOINT_FULL["adjoint_full"]),
    "backprop": ("grad=backprop",),
    "checkpoint": ("grad=checkpoint",),
    "aca": ("grad=aca",),
    "symplectic": ("grad=symplectic",),
    "symplectic_stages": ("grad=symplectic_stages",),
}
"""The overrides of every method, in the paper's order."""
ADJOINT_ROWS = (
    "adjoint: the continuous adjoint method with the seminorm (the default); adjoint_full: with "
    "the norm over everything, parameters included, as published and as torchdiffeq's default."
)
BESIDE = "task._target_=flows.BesideBaselines"
BASELINES = {"truth": "truth", "gaussian": "fitted Gaussian", "normal": "N(0, I)"}
"""Of the metrics test/nll_KEY, what stands in tables."""


@dataclass(frozen=True)
class Net:
    """A flow of the paper, which are FFJORD's.

    Attributes:
        hidden: widths.
        components: M.
        activation: between the layers.
    """

    hidden: tuple[int, ...]
    components: int
    activation: str

    def overrides(self) -> tuple[str, ...]:
        """Of a run."""
        return (
            f"model.hidden=[{','.join(map(str, self.hidden))}]",
            f"model.components={self.components}",
            f"model.activation={self.activation}",
        )


NETS = {
    "POWER": Net((60, 60, 60), 5, "tanh"),
    "GAS": Net((160, 160, 160), 5, "tanh"),
    "HEPMASS": Net((210, 210), 10, "softplus"),
    "MINIBOONE": Net((860, 860), 1, "softplus"),
    "BSDS300": Net((1260, 1260, 1260), 2, "softplus"),
}


def rows_of(grads: Sequence[str]) -> tuple[str, ...]:
    """Overrides by which a benchmark measures these methods, a row each."""
    plain = [grad for grad in grads if METHODS[grad] == (f"grad={grad}",)]
    more = {grad: METHODS[grad] for grad in grads if grad not in plain}
    grouped = (f"grads=[{','.join(plain)}]",)
    return (*grouped, rows_setting(more)) if more else grouped


class BesideBaselines(Density):
    """`Density` whose test has, of the same rows and in nats, what needs no flow.

    "nll_normal": of N(0, I). "nll_gaussian": of a normal density with the mean and a covariance of
    the training split, the empirical one or Ledoit and Wolf's (2004), which is shrunk; the better
    on the validation split. "nll_truth": of the density that synthetic data are drawn from.
    "bits_...", in place of "nll_...": the same of images, in bits per dimension.

    `symadj-train task._target_=flows.BesideBaselines` finds it with `experiments` on the path.
    """

    def test(
        self,
        model: ContinuousFlow,
        x: Tensor,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """As `Density.test`, and the baselines."""
        found = super().test(model, x, data, integrator, batch_size)
        return found | baselines(data, x.cpu())


def baselines(data: VectorData, x: Tensor) -> dict[str, float]:
    """The metrics of `BesideBaselines` for rows x [n, dim]."""
    x = x.double()
    log_probs = {"normal": standard_normal_logprob(x), "gaussian": fitted(data).log_prob(x)}
    if hasattr(data, "log_prob"):
        log_probs["truth"] = data.log_prob(x)  # pyright: ignore[reportAttributeAccessIssue]
    found = {f"nll_{name}": -float(values.mean()) for name, values in log_probs.items()}
    if data.image_shape is not None:
        bits = {n: data.bits_per_dim(x, values).mean() for n, values in log_probs.items()}
        found |= {f"bits_{name}": float(value) for name, value in bits.items()}
    return found


def fitted(data: VectorData) -> MultivariateNormal:
    """The normal density of `BesideBaselines`."""
    train, val = data.train.double(), data.val.double()
    fits = [kind().fit(train.numpy()) for kind in (EmpiricalCovariance, LedoitWolf)]
    mean = train.mean(0)
    # The empirical covariance of few rows is singular: that one is passed over.
    densities = [
        MultivariateNormal(mean, torch.from_numpy(fit.covariance_))
        for fit in fits
        if np.linalg.eigvalsh(fit.covariance_)[0] > 1e-9
    ]
    return max(densities, key=lambda density: float(density.log_prob(val).mean()))


def baseline_values(runs: pd.DataFrame, unit: str = "nll") -> dict[str, float]:
    """By the names of `BASELINES`, what the records have; all records are of one data set."""
    found = {name: numbers(column(runs, f"metrics.test/{unit}_{name}")) for name in BASELINES}
    return {name: float(v.dropna().iloc[0]) for name, v in found.items() if v.notna().any()}


def grads_of(runs: pd.DataFrame) -> list[str]:
    """The methods of the records in the order of tables."""
    return [name for (name,) in ordered({(str(name),) for name in runs["grad"]})]


def draw_intervals(
    ax: Axes,
    points: Sequence[tuple[float, Sequence[float]]],
    style: Style,
    label: str = "",
    *,
    joined: bool = True,
    seeds: bool = False,
) -> None:
    """Means with bootstrap intervals.

    Args:
        ax: to draw on.
        points: x, and the values of all seeds there.
        style: of the method.
        label: in the legend.
        joined: whether a line joins the means.
        seeds: whether the values themselves are drawn too, small.
    """
    finite = [(x, [v for v in values if np.isfinite(v)]) for x, values in points]
    finite = [(x, values) for x, values in finite if values]
    if not finite:
        return
    xs, means = [x for x, _ in finite], [float(np.mean(values)) for _, values in finite]
    ranges = [interval(values) for _, values in finite]
    below, above = (
        [0.0 if np.isnan(r[i]) else abs(m - r[i]) for m, r in zip(means, ranges, strict=True)]
        for i in (0, 1)
    )
    ax.errorbar(
        xs,
        means,
        yerr=[below, above],
        color=style.color,
        marker=style.marker,
        linestyle=style.dash if joined else "none",
        markersize=4,
        linewidth=1.2,
        capsize=2,
        label=label or None,
    )
    for x, values in finite if seeds else ():
        ax.plot([x] * len(values), values, ".", color=style.color, markersize=3, alpha=0.5)
