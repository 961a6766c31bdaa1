"""What `guidance.py` measures: costs of a gradient through a sampler, and what exactness buys."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.at_once import Groups
from harness.paired import interval
from symadj import Integrator, SolverSettings
from symadj.config.compose import compose
from symadj.errors import InputError, MemoryBudgetExceeded, NonFiniteError
from symadj.guide import Sampler, Source, Step, Way
from symadj.guide.goals import Classify, Goal, Inpaint, Subject
from symadj.launch.job import Job
from symadj.launch.run import run_job
from symadj.meters.meter import make_meter
from symadj.models.velocity import GuidedVelocity
from symadj.records.status import Status
from symadj.run.parts import Parts
from symadj.run.trained import load_trained

Point = dict[str, Any]

GRADS = ("backprop", "checkpoint", "aca", "adjoint", "symplectic")
REVERSIBLE, PEERS = "reversible", ("torchdiffeq", "torchdiffeq adjoint")
SOLVER, LOOSE = "heun3", "euler"
"""Of the costs, and of guided samples: few steps of the simplest kind, as samplers take them."""
CLASSES, PIXELS = "classify", "inpaint"
SHOWN = 20
"""Samples whose pictures are kept."""
FEWEST = 3
"""Timed gradients of a cell that takes long."""
QUIET = (
    *("train.max_seconds=null", "train.figures=false", "train.test=false", "measure=none"),
    "threads=1",
)


@dataclass(frozen=True)
class Plan:
    """What a preset measures.

    Attributes:
        data: overrides of all trainings.
        nets: the velocities by name, overrides of their training.
        classifiers: overrides of the training of the classifier that guides and of the judge.
        steps: numbers of steps N of the costs.
        batch: samples at once, of the costs.
        repeats: timed gradients of each cell.
        seconds: after which a cell has no more of them than `FEWEST`.
        budget: bytes beyond which a cell is out of memory.
        samples: that are guided, of each goal.
        coarse: numbers of steps of the guided samples.
        gradients: budgets of way=source, in gradients.
        strengths: of which way=step takes the best, on other noise.
    """

    data: tuple[str, ...]
    nets: Mapping[str, tuple[str, ...]]
    classifiers: tuple[tuple[str, ...], tuple[str, ...]]
    steps: Sequence[int]
    batch: int
    repeats: int
    seconds: float
    budget: int
    samples: int
    coarse: Sequence[int]
    gradients: Sequence[int]
    strengths: Sequence[float] = (3.0, 10.0, 30.0, 100.0)
    seeds: tuple[int, int] = field(default=(0, 1))


def measured(plan: Plan, runs: Path) -> Groups:
    """All points of a plan; what it needs is trained first, below `runs`, unless it is there."""
    nets = {
        name: trained(runs, ("task=flow_matching", *overrides), plan)
        for name, overrides in plan.nets.items()
    }
    judges = [trained(runs, ("task=classify", *own), plan).model for own in plan.classifiers]
    groups: dict[str, Callable[[], Iterator[Point]]] = {
        f"costs, {name}, N = {steps}": partial(costs, name, parts, steps, plan)
        for name, parts in nets.items()
        for steps in plan.steps
    }
    guided = next(iter(nets.values()))
    for aim in aims(guided, judges, plan.samples):
        for steps in plan.coarse:
            for method in methods(plan):
                group = f"{aim.name}, N = {steps}, {method.name}"
                groups[group] = partial(successes, guided, aim, steps, method, plan)
        groups[f"{aim.name}, pictures"] = partial(pictures, guided, aim, plan)
    return groups


def trained(runs: Path, overrides: Sequence[str], plan: Plan) -> Parts:
    """The objects of a run, its chosen weights in the model; it is made or gone on with here.

    Raises:
        InputError: the training has failed.
    """
    given = (*plan.data, *overrides, *QUIET, f"out={runs}")
    outcome = run_job(Job("train", compose("train", given), given))
    if outcome.status is not Status.OK:
        raise InputError(f"{' '.join(overrides)}: {outcome.message or outcome.note}")
    parts = load_trained(Path(outcome.directory)).parts
    parts.model.requires_grad_(False)
    return parts


# Costs


def costs(net: str, parts: Parts, steps: int, plan: Plan) -> Iterator[Point]:
    """Seconds, memory and error of the gradient of one loss in the noise, by every method."""
    x0 = noise(parts, plan.batch, plan.seeds[0])
    exact = reference(parts, x0, steps)
    for grad in (*GRADS, REVERSIBLE, *PEERS):
        at = {"part": "cost", "net": net, "N": steps, "grad": grad, "batch": plan.batch}
        try:
            sampler = sampler_of(parts, grad, steps)
            found = cell(sampler, x0, plan)
            # The reversible method takes steps of its own, so that it has another gradient.
            if grad != REVERSIBLE:
                found["error"] = float((found["gradient"] - exact).norm() / exact.norm())
            del found["gradient"]
            yield at | {"status": "ok"} | found
        except ImportError:
            yield at | {"status": "not installed"}
        except MemoryBudgetExceeded:
            yield at | {"status": "oom"}


def sampler_of(parts: Parts, grad: str, steps: int, method: str = SOLVER) -> Sampler:
    """The velocity of no class, with a gradient method or a peer, in fixed steps of a solver.

    Raises:
        ImportError: the peer is not installed.
    """
    solver = SolverSettings(method, num_steps=steps)
    if grad == REVERSIBLE:
        solver = SolverSettings("reversible", base=method, num_steps=steps)
    if grad in PEERS:
        if find_spec("torchdiffeq") is None:
            raise ImportError("torchdiffeq")
        from symadj.bench.peers.torchdiffeq_peer import TorchdiffeqIntegrator

        integrator: Integrator = TorchdiffeqIntegrator(solver, grad == PEERS[1])
    else:
        integrator = Integrator(solver, grad)
    return Sampler(GuidedVelocity(parts.model), integrator)  # pyright: ignore[reportArgumentType]


def cell(sampler: Sampler, x0: Tensor, plan: Plan) -> Point:
    """Peak memory of one gradient, then the seconds of others, both in all and for each sample."""

    def once() -> Tensor:
        return sampler.value_and_gradient(size, x0)[1]

    meter = make_meter("auto", x0.device, plan.budget)
    with meter:
        gradient = once()
    counts = sampler.integrator.take_stats()
    seconds: list[float] = []
    fewest = min(FEWEST, plan.repeats)
    while len(seconds) < (plan.repeats if sum(seconds) < plan.seconds else fewest):
        started = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - started)
    q1, median, q3 = (float(q) / len(x0) for q in np.quantile(seconds, [0.25, 0.5, 0.75]))
    return {
        "gradient": gradient,
        "memory": meter.peak_bytes / len(x0),
        "seconds": median,
        "q1": q1,
        "q3": q3,
        "repeats": len(seconds),
        **{name: getattr(counts, name) for name in ("forward", "recomputed", "vjps")},
    }


def reference(parts: Parts, x0: Tensor, steps: int) -> Tensor:
    """The gradient of the same steps in float64, rounded."""
    with in_float64(parts.model):
        sampler = sampler_of(parts, "symplectic", steps)
        gradient = sampler.value_and_gradient(size, x0.double())[1]
    return gradient.to(x0.dtype)


@contextmanager
def in_float64(model: nn.Module) -> Iterator[None]:
    """Within it the model's weights are wider; the same bits afterwards."""
    before = next(model.parameters()).dtype
    model.double()
    try:
        yield
    finally:
        model.to(before)


def size(x: Tensor) -> Tensor:
    """A loss of every sample, whose gradient is of the same size in all of them."""
    return x.sin().flatten(1).sum(1)


def noise(parts: Parts, n: int, seed: int) -> Tensor:
    """n normal variables in the dtype and on the device of a run."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, parts.data.dim, generator=generator, dtype=parts.dtype)
    return x.to(parts.device)


# What exactness buys


@dataclass(frozen=True)
class Method:
    """A way of guiding with its gradient.

    Attributes:
        name: in tables and figures.
        grad: the gradient method.
        way: (strength) -> the way; of way=source the budget stands in its place.
        budgets: what `way` is made with, one point for each; none: the best strength.
    """

    name: str
    grad: str
    way: Callable[[float], Way]
    budgets: Sequence[float] = ()


def methods(plan: Plan) -> list[Method]:
    """All that are compared."""
    found = []
    for grad, label in (("symplectic", "exact"), ("adjoint", "continuous adjoint")):
        found += [
            Method(f"source, {label}", grad, _source, plan.gradients),
            Method(f"step n=4, {label}", grad, lambda s: Step(strength=s, n=4)),
        ]
    return [*found, Method("step n=0, one-step estimate", "backprop", lambda s: Step(s, n=0))]


@dataclass(frozen=True)
class Aim:
    """A goal.

    Attributes:
        name: in tables and figures.
        goal: bound.
        metric: of the goal's metrics, the one that tells how well it is reached.
    """

    name: str
    goal: Goal
    metric: str


def _source(budget: float) -> Way:
    return Source(evaluations=int(budget))


def aims(parts: Parts, judges: Sequence[nn.Module], n: int) -> list[Aim]:
    """The goals, for n samples."""
    data = parts.data
    subject = Subject(
        dim=data.dim,
        references=parts.place(data.test[torch.arange(n) % len(data.test)]),
        name=data.name,
        classes=data.classes,
        images=data.pixels,
    )
    guiding, judge = judges
    found = [
        Aim(CLASSES, Classify(guiding, judge=judge), "judged"),
        Aim(PIXELS, Inpaint("upper"), "psnr"),
    ]
    for aim in found:
        aim.goal.bind(subject)
    return found


def successes(parts: Parts, aim: Aim, steps: int, method: Method, plan: Plan) -> Iterator[Point]:
    """How well a method reaches a goal in so many steps, and with how many evaluations."""
    sampler = sampler_of(parts, method.grad, steps, LOOSE)
    x0 = noise(parts, plan.samples, plan.seeds[0])
    at = {"part": "success", "goal": aim.name, "metric": aim.metric, "N": steps}
    for budget in method.budgets or [best(parts, method, sampler, aim, plan)]:
        point = reached(method.way(budget), sampler, aim, x0)
        yield at | {"grad": method.name, "setting": float(budget)} | point


def best(parts: Parts, method: Method, sampler: Sampler, aim: Aim, plan: Plan) -> float:
    """The strength of the best metric, on noise that nothing else is told of."""
    x0 = noise(parts, plan.samples, plan.seeds[1])
    found = {
        strength: reached(method.way(strength), sampler, aim, x0).get("value", -np.inf)
        for strength in plan.strengths
    }
    return max(found, key=lambda strength: found[strength])


def reached(way: Way, sampler: Sampler, aim: Aim, x0: Tensor) -> Point:
    """The metric's mean over the samples with its interval, and the uses of the network.

    The samples' own values too: they start from the same noise in every method.
    """
    sampler.integrator.take_stats()
    used: list[int] = []

    def count(*_: object) -> None:
        stats = sampler.integrator.take_stats()
        kept = stats.with_graph if sampler.integrator.gradient.name != "backprop" else 0
        used.append(stats.forward + stats.recomputed + kept + stats.vjps)

    try:
        guided = way(sampler, aim.goal, x0, count)
    except NonFiniteError:
        return {"status": "nonfinite"}
    count()
    values = aim.goal.metrics(guided.x1)[aim.metric].double().tolist()
    low, high = interval(values)
    return {
        "status": "ok",
        "value": float(np.mean(values)),
        "low": low,
        "high": high,
        "samples": len(values),
        "values": [float(f"{v:.6g}") for v in values],
        "loss": float(guided.losses.mean()),
        "evaluations": sum(used),
    }


def pictures(parts: Parts, aim: Aim, plan: Plan) -> Iterator[Point]:
    """A few images before and after, and what was given: levels from 0 to 255; -1: not known."""
    goal, steps = aim.goal, max(plan.coarse)
    sampler, x0 = (
        sampler_of(parts, "symplectic", steps, LOOSE),
        noise(parts, plan.samples, plan.seeds[0]),
    )
    guided = Source(evaluations=max(plan.gradients))(sampler, goal, x0)
    sheets = {"before": parts.data.to_images(sampler.sample(x0))}
    if (given := goal.target()) is not None:
        sheets["given"] = given.clamp(0, 1)
    sheets["after"] = parts.data.to_images(guided.x1)
    if (truth := goal.truth()) is not None:
        sheets["truth"] = truth.clamp(0, 1)
    levels = {title: levels_of(images[:SHOWN]) for title, images in sheets.items()}
    yield {"part": "pictures", "goal": aim.name, "N": steps, "images": levels}


def levels_of(images: Tensor) -> list[Any]:
    """Whole levels of pixels from 0 to 1."""
    return (255 * images).round().nan_to_num(nan=-1).int().tolist()
