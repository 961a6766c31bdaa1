"""Density estimation: the negative log-likelihood of a flow, and pictures of what it learned."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.data.base import VectorData
from symadj.data.physics.snapshots import SnapshotData
from symadj.errors import InputError, SolveError
from symadj.figures.flow import density_map, sample_figure
from symadj.models.cnf import ContinuousFlow, standard_normal_logprob
from symadj.ode.randomness import Generators
from symadj.ode.settings import SolverSettings
from symadj.ranges import HUGE, require
from symadj.tasks.base import Task
from symadj.warn import warn

SHEET = 64
POINTS = 3000
GRID = 120
# Entries of a point up to which a test's trace is exact unless the task is told: the tables of the
# literature have at most 63, the smallest images 64, and 28x28 pixels would take 784 products.
EXACT = 256
# A tolerance below which none is tightened: the rounding of float64.
_TIGHTEST = 1e-15


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

    A gradient that is exact for a coarse solver minimises what that solver computes, which need not
    be a likelihood: training may learn the solver's error. So validation and test look at the NLL
    by a tighter solver too (`tighter`), on the same noise, of the first `train.eval_batch_size`
    rows (1,000, unless told): "nll_tighter", and "nll_gap", the NLL of these rows by the run's own
    solver minus that. The first gap beyond the bound is warned of. It costs one more solve without
    graph in every validation and in the test, of about 1.6 times the steps (of order 5, a tenth of
    the tolerance), and touches no random number of the training.

    Args:
        kinetic: weight of K; 0: K is not computed.
        jacobian: weight of J; 0: J is not computed.
        check_tolerance: the bound on |nll_gap|, in nats; None: no check and neither metric.
        check_factor: rtol and atol of the tighter solver in those of the run.
        exact_test: whether the test's trace is exact, d products an evaluation, or estimated as in
            training; None: exact for points of at most `EXACT` entries. FFJORD's tables test
            exactly, its images by the estimate.

    Attributes:
        exact_test: as given; None is decided when the data are known, by `bind`.
        monitor: the metric whose minimum on the validation split chooses the weights.
        tracked: the metrics of the check, where there is one.

    Raises:
        InputError: a weight, a bound or a factor out of its range.
    """

    monitor = "nll"

    def __init__(
        self,
        exact_test: bool | None = None,
        kinetic: float = 0.0,
        jacobian: float = 0.0,
        check_tolerance: float | None = 0.1,
        check_factor: float = 0.1,
    ) -> None:
        self.exact_test = exact_test
        weights = {"kinetic": kinetic, "jacobian": jacobian}
        require("task", **weights, check_tolerance=check_tolerance, check_factor=check_factor)
        self.check_tolerance = check_tolerance
        self.check_factor = check_factor
        self.tracked = () if check_tolerance is None else ("nll_tighter", "nll_gap")
        self._warned = False
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
                "Take model=cnf, or task=physics for a field, task=flow_matching for a velocity."
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
        """Means over all rows of x [n, dim], with the model's own trace.

        Returns:
            "nll" in nats, "bits_per_dim", and those of `tracked`.
        """
        return self._means(model, x, data, integrator, batch_size, exact=False)

    def test(
        self,
        model: ContinuousFlow,
        x: Tensor,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
    ) -> dict[str, float]:
        """As `evaluate`, with the trace that `exact_test` says."""
        exact = self.exact_test is not False
        return self._means(model, x, data, integrator, batch_size, exact)

    def test_notes(self) -> dict[str, str]:
        """How the test's trace was computed."""
        return {"test_trace": "estimate" if self.exact_test is False else "exact"}

    def _means(
        self,
        model: ContinuousFlow,
        x: Tensor,
        data: VectorData,
        integrator: Integrator,
        batch_size: int,
        exact: bool,
    ) -> dict[str, float]:
        """Means over all rows of x [n, dim], without gradients, and the check on the first ones."""
        batches = x.split(batch_size)
        with torch.no_grad():
            tighter_nll = self._tighter_nll(model, batches[0], integrator.solver, exact)
            nlls, bits = [], 0.0
            for batch in batches:
                log_prob = model.log_prob(batch, integrator, exact)
                nlls.append(-log_prob.double().sum().item())
                bits += data.bits_per_dim(batch, log_prob).double().sum().item()
        metrics = {"nll": sum(nlls) / len(x), "bits_per_dim": bits / len(x)}
        if self.check_tolerance is None:
            return metrics
        own = nlls[0] / len(batches[0])
        self._warn_of(own, tighter_nll, len(batches[0]), integrator.solver)
        return metrics | {"nll_tighter": tighter_nll, "nll_gap": own - tighter_nll}

    def _tighter_nll(
        self, model: ContinuousFlow, batch: Tensor, solver: SolverSettings, exact: bool
    ) -> float:
        """The mean NLL of a batch by the tighter solver; NaN: that did not get through.

        Random numbers are drawn as if it had not been computed.
        """
        if self.check_tolerance is None:
            return math.nan
        generators = Generators(batch.device)
        states = generators.states()
        try:
            with warnings.catch_warnings():
                # Of tolerances near the rounding of the dtype, which the run does not have.
                warnings.simplefilter("ignore")
                tight = Integrator(tighter(solver, self.check_factor))
                return -model.log_prob(batch, tight, exact).double().mean().item()
        except SolveError:
            # What is looked at besides must not end a run.
            return math.nan
        finally:
            generators.restore(states)

    def _warn_of(self, own: float, tighter_nll: float, rows: int, solver: SolverSettings) -> None:
        """Warns, once, of a gap beyond the bound, or of one that cannot be known."""
        assert self.check_tolerance is not None
        if self._warned or abs(own - tighter_nll) <= self.check_tolerance:
            return
        self._warned = True
        tight = tighter(solver, self.check_factor)
        warn(
            f"the NLL of {rows} rows is {own:.4g} nats with {_told(solver)} and {tighter_nll:.4g} "
            f"with {_told(tight)}, more than task.check_tolerance={self.check_tolerance:g} apart. "
            "The first is not the likelihood of the flow's ODE: the solver is too coarse for it, "
            "and training may have learned the solver's error. Train with tighter settings, until "
            "the metric nll_gap is small; task.check_tolerance=null does not look."
        )

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
                drawn = draw(model, SHEET, data.dim, integrator, generator).cpu()
                return {"samples": sample_figure(data, drawn)}
            if data.dim == 2:
                return {"density": plane(model, data, integrator, generator)}
        return {}


def tighter(solver: SolverSettings, factor: float) -> SolverSettings:
    """A solver whose error is `factor` of another one's, about.

    Adaptive steps: rtol and atol times the factor, but none below 1e-15. Fixed ones: each cut into
    ceil(factor^(-1/p)) equal ones, p being the method's order: 2 for order 4 and above and a tenth.
    """
    if solver.adaptive:
        rtol, atol = (max(factor * t, min(t, _TIGHTEST)) for t in (solver.rtol, solver.atol))
        return replace(solver, rtol=rtol, atol=atol)
    pieces = math.ceil(factor ** (-1 / solver.solver.order))
    finer = replace(solver, max_steps=min(pieces * solver.max_steps, HUGE))
    if solver.num_steps is not None:
        return replace(finer, num_steps=pieces * solver.num_steps)
    if solver.step_size is not None:
        return replace(finer, step_size=solver.step_size / pieces)
    return replace(finer, grid=_cut(cast("Sequence[float]", solver.grid), pieces))


def _cut(grid: Sequence[float], pieces: int) -> list[float]:
    """A grid with every step cut into so many equal ones."""
    steps = itertools.pairwise([float(t) for t in grid])
    cut = [a + (b - a) * (i / pieces) for a, b in steps for i in range(pieces)]
    return [*cut, float(grid[-1])]


def _told(solver: SolverSettings) -> str:
    """What decides a solver's steps, as it is set."""
    if solver.adaptive:
        return f"solver.rtol={solver.rtol:g} solver.atol={solver.atol:g}"
    if solver.grid is not None:
        return f"a solver.grid of {len(solver.grid) - 1} steps"
    name = "num_steps" if solver.num_steps is not None else "step_size"
    return f"solver.{name}={getattr(solver, name):g}"


def draw(
    model: ContinuousFlow, n: int, dim: int, integrator: Integrator, generator: torch.Generator
) -> Tensor:
    """n samples of the flow [n, dim]."""
    return model.inverse(normal(n, dim, next(model.parameters()), generator), integrator)


def normal(n: int, dim: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """n normal variables [n, dim] of another tensor's dtype, on its device."""
    z = torch.randn(n, dim, generator=generator, dtype=like.dtype, device=generator.device)
    return z.to(like.device)


def plane(
    model: ContinuousFlow, data: VectorData, integrator: Integrator, generator: torch.Generator
) -> Figure:
    """Points of the plane, samples of a flow, and its density around them."""
    points = data.test[:POINTS]
    samples = draw(model, POINTS, 2, integrator, generator).cpu()
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
