"""The stepping loop of samples with steps of their own.

`engine.integrate` asks of every step whether it was accepted, where it ended and which outputs lie
in it, and goes on by the answers. Here the answers differ from sample to sample, so that each of
its lines would be about a part of the samples. What a step is (`StepMethod.attempt`, `estimate`,
`dense`), how its error is measured, by which formula the next length follows from it, what is kept
of it and how it is played back are the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symadj.errors import NonFiniteError
from symadj.ode.engine import Ratio, StepObserver
from symadj.ode.methods import Attempt, Evaluate, StepMethod
from symadj.ode.samples.control import SampleController, SampleProgress
from symadj.ode.samples.instants import Instants, Samples
from symadj.ode.samples.steps import Answers, SampleStep, chosen, instants_of

EmitSamples = Callable[[Tensor, Tensor, Tensor], None]
"""emit(numbers of outputs, numbers of samples, states)."""


def integrate_samples(
    evaluate: Evaluate,
    solver: StepMethod,
    y0: Tensor,
    times: np.ndarray,
    samples: Samples,
    controller: SampleController,
    progress: SampleProgress,
    *,
    ratio: Ratio | None = None,
    k0: Tensor | None = None,
    emit: EmitSamples,
    observer: StepObserver | None = None,
) -> None:
    """Steps every sample from its first time to its last and emits its state at all of them.

    At every turn of the loop each sample that has not arrived attempts one step. A step that was
    rejected is tried again in the next turn, beside the next steps of the others; a sample that
    has arrived leaves.

    Args:
        evaluate: the field, with or without graph.
        solver: the stepping method.
        y0: the solutions at the start, [B, ...].
        times: of the outputs, strictly monotone, [B, K].
        samples: of the batch.
        controller: proposes and judges steps.
        progress: of every sample.
        ratio: the errors of an attempt in units of the tolerance, [A].
        k0: f at the start, where it is known.
        emit: is given the outputs as they come.
        observer: sees accepted steps.

    Raises:
        SolveError: of the kind that says why, with the samples that did not reach their end.
    """
    rows, waiting = samples.every(), np.ones(samples.count, dtype=np.int64)
    emit(samples.index(np.zeros_like(rows)), samples.index(rows), y0)
    y, k = y0, controller.begin(evaluate, y0, k0)
    while len(rows):
        ends = controller.propose(progress, rows, y)
        start, end = samples.instants(rows, progress.t[rows]), samples.instants(rows, ends)
        attempt = solver.attempt(evaluate, start, end, y, k)
        good = finite = np.ones(len(rows), dtype=bool)
        if controller.adaptive:
            assert ratio is not None
            errors = np.array(ratio(attempt, solver.estimate(evaluate, attempt)).tolist())
            good, finite = controller.judge(rows, errors), np.isfinite(errors)
        progress.count(rows, good)
        on_way: list[tuple[np.ndarray, Tensor, Tensor | None]] = []
        if good.any():
            taken = _taken(evaluate, solver, attempt, good, finite)
            _answer(evaluate, solver, taken, times, waiting, emit, observer)
            assert taken.y1 is not None
            progress.t[rows[good]] = ends[good]
            going = waiting[rows[good]] < times.shape[1]
            _refuse_nonfinite(progress, taken, ~going)
            if going.any():
                on_way.append((rows[good][going], *_ends(solver, taken, going)))
        if not good.all():
            on_way.append((rows[~good], *_starts(solver, attempt, ~good)))
        rows, y, k = _together(evaluate, samples, progress, on_way, y)


def _taken(
    evaluate: Evaluate, solver: StepMethod, attempt: Attempt, good: np.ndarray, finite: np.ndarray
) -> Attempt:
    """The accepted part of an attempt.

    With a graph it is made again where a part of the attempt is no number: in the backward pass,
    the derivative there times zero would be the gradient of everything.
    """
    assert attempt.y1 is not None
    if finite.all() or not attempt.y1.requires_grad:
        return chosen(attempt, good)
    start, at, k0 = chosen(attempt, good), _places(attempt, good), attempt.ks[0]
    assert k0 is not None
    return solver.attempt(evaluate, start.t0, start.t1, start.y0, k0[at])


def _places(attempt: Attempt, which: np.ndarray) -> Tensor:
    start, _ = instants_of(attempt)
    return start.samples.index(np.flatnonzero(which))


def _ends(solver: StepMethod, attempt: Attempt, which: np.ndarray) -> tuple[Tensor, Tensor | None]:
    """States and first stages of the next steps."""
    y1, k = attempt.y1, solver.carry(attempt)
    assert y1 is not None
    if which.all():
        return y1, k
    at = _places(attempt, which)
    return y1[at], None if k is None else k[at]


def _starts(
    solver: StepMethod, attempt: Attempt, which: np.ndarray
) -> tuple[Tensor, Tensor | None]:
    """States and first stages of these steps tried again."""
    k = solver.retry(attempt)
    if which.all():
        return attempt.y0, k
    at = _places(attempt, which)
    return attempt.y0[at], None if k is None else k[at]


def _together(
    evaluate: Evaluate,
    samples: Samples,
    progress: SampleProgress,
    on_way: Sequence[tuple[np.ndarray, Tensor, Tensor | None]],
    y: Tensor,
) -> tuple[np.ndarray, Tensor, Tensor | None]:
    """The samples that are on their way, whether their last step was accepted or not."""
    if len(on_way) == 1:
        return on_way[0]
    if not on_way:
        return np.empty(0, dtype=np.int64), y[:0], None
    ks = [
        # Where the others' first stage is known, it must be.
        evaluate(samples.instants(rows, progress.t[rows]), state) if k is None else k
        for rows, state, k in on_way
    ]
    rows = np.concatenate([rows for rows, _, _ in on_way])
    return rows, torch.cat([state for _, state, _ in on_way]), torch.cat(ks)


def _answer(
    evaluate: Evaluate,
    solver: StepMethod,
    taken: Attempt,
    times: np.ndarray,
    waiting: np.ndarray,
    emit: EmitSamples,
    observer: StepObserver | None,
) -> None:
    """Emits the outputs that these accepted steps answer; `waiting` is then past them."""
    start, end = instants_of(taken)
    t0, t1 = start.host, end.host
    interior: list[tuple[int, Any]] = []
    inside: list[Answers] = []
    while True:
        time = _next_output(times, start.rows, waiting)
        there = (time - t1) * (t1 - t0) < 0
        if not there.any():
            break
        theta = np.where(there, (time - t0) / (t1 - t0), 0.0)
        interior.append((len(interior), start.samples.lengths(theta)))
        inside.append(_answers(start, there, waiting))
    landed = time == t1
    ending = _answers(start, landed, waiting) if landed.any() else None
    step = SampleStep(taken.t0, taken.t1, tuple(interior), None, tuple(inside), ending)
    values = solver.dense(evaluate, taken, [theta for _, theta in interior])
    for answers, value in zip(inside, values, strict=True):
        emit(answers.times, answers.rows, value[answers.at])
    if ending is not None:
        assert taken.y1 is not None
        emit(ending.times, ending.rows, taken.y1[ending.at])
    if observer is not None:
        observer.accepted(step, taken)


def _next_output(times: np.ndarray, rows: np.ndarray, waiting: np.ndarray) -> np.ndarray:
    """The next output time of each of these samples; NaN where none is left."""
    last = times.shape[1] - 1
    time = times[rows, np.minimum(waiting[rows], last)]
    return np.where(waiting[rows] <= last, time, np.nan)


def _answers(start: Instants, there: np.ndarray, waiting: np.ndarray) -> Answers:
    """The next output of some of the samples, which are then past it."""
    rows, index = start.rows[there], start.samples.index
    answers = Answers(index(np.flatnonzero(there)), index(rows), index(waiting[rows]))
    waiting[rows] += 1
    return answers


def _refuse_nonfinite(progress: SampleProgress, taken: Attempt, arrived: np.ndarray) -> None:
    """Refuses states at the end that are no numbers."""
    if not arrived.any():
        return
    assert taken.y1 is not None
    start, end = instants_of(taken)
    finite = torch.isfinite(taken.y1).reshape(len(taken.y1), -1).all(1)
    failed = arrived & ~np.array(finite.tolist())
    if failed.any():
        y, h = taken.y1[start.samples.index(np.flatnonzero(failed))], end.host - start.host
        message = "the state became infinite or NaN"
        progress.fail(NonFiniteError, message, start.rows[failed], h[failed], y)
