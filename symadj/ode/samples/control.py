"""Where the steps of every sample end: `FixedSteps` and `AdaptiveSteps` for many at once.

Times, lengths and what a controller remembers are arrays on the host, one entry a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor

from symadj.errors import MaxStepsExceeded, NonFiniteError, SolveError, StepSizeUnderflow
from symadj.ode import control
from symadj.ode.control import Norm
from symadj.ode.methods import Evaluate
from symadj.ode.samples.instants import Samples
from symadj.ode.settings import SolverSettings


class SampleProgress:
    """How far every sample has come.

    Attributes:
        t: the times that were reached, [B].
        accepted: steps that were, [B].
        rejected: those that were not, [B].
        evaluations: of the field in which a sample took part, [B].
    """

    def __init__(self, t: np.ndarray, phase: str = "forward") -> None:
        self.phase = phase
        self.t = t.copy()
        self.accepted, self.rejected, self.evaluations = np.zeros((3, len(t)), dtype=np.int64)

    def count(self, rows: np.ndarray, accepted: np.ndarray) -> None:
        """One attempt more of each of these samples."""
        self.accepted[rows] += accepted
        self.rejected[rows] += ~accepted

    def fail(
        self, kind: type[SolveError], message: str, rows: np.ndarray, h: np.ndarray, y: Tensor
    ) -> NoReturn:
        """Raises an error of this kind, with the diagnosis of the first of the samples.

        Args:
            kind: of the error.
            message: what has happened.
            rows: the samples that have failed.
            h: their (signed) lengths of steps.
            y: their states.
        """
        first = int(rows[0])
        largest = float(y[0].detach().abs().amax()) if y[0].numel() else 0.0
        shown = ", ".join(str(row) for row in rows[:8]) + (", ..." if len(rows) > 8 else "")
        one = "sample" if len(rows) == 1 else "samples"
        raise kind(
            f"{one} {shown} of {len(self.t)}: {message}",
            phase=self.phase,
            t=float(self.t[first]),
            h=float(h[0]),
            steps=int(self.accepted[first]),
            rejects=int(self.rejected[first]),
            largest=largest,
            samples=tuple(int(row) for row in rows),
        )


class SampleController(Protocol):
    """As `StepController`, for the samples that are asked about."""

    adaptive: bool

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Called once before the first step; returns f(t0, y0) where it is known."""
        ...

    def propose(self, progress: SampleProgress, rows: np.ndarray, y: Tensor) -> np.ndarray:
        """The times at which the next attempt of these samples ends."""
        ...

    def judge(self, rows: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """Which of these attempts, with these errors in units of the tolerance, are accepted."""
        ...


class FixedSamples:
    """Steps that end at given times of every sample, all of them accepted.

    Args:
        grids: the times of every sample's steps, its start among them.
    """

    adaptive = False

    def __init__(self, grids: Sequence[np.ndarray]) -> None:
        longest = max(len(grid) for grid in grids)
        self.times = np.full((len(grids), longest), np.nan)
        for row, grid in enumerate(grids):
            self.times[row, : len(grid)] = grid

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Nothing needs to be known beforehand."""
        return k0

    def propose(self, progress: SampleProgress, rows: np.ndarray, y: Tensor) -> np.ndarray:
        """The next time of each one's grid."""
        return self.times[rows, progress.accepted[rows] + 1]

    def judge(self, rows: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """Every step counts."""
        return np.ones(len(rows), dtype=bool)


class AdaptiveSamples:
    """`AdaptiveSteps` of every sample, by the same formulas.

    Args:
        settings: tolerances, limits and factors.
        samples: of the batch.
        times: [B, 2], where each begins and ends.
        order: q of the error estimate.
        norm: of a scaled error, [B].
    """

    adaptive = True

    def __init__(
        self, settings: SolverSettings, samples: Samples, times: np.ndarray, order: int, norm: Norm
    ) -> None:
        self.settings = settings
        self.samples = samples
        self.t0, self.t_end = times.T
        self.sign = np.sign(self.t_end - self.t0)
        self.span = np.abs(self.t_end - self.t0)
        self.exponent = 1 / order - 0.75 * settings.pi_beta
        self.order = order
        self.norm = norm
        count = samples.count
        self.h = np.full(count, settings.first_step or np.nan)
        self.before = np.ones(count)
        self.grew_wrong = np.zeros(count, dtype=bool)
        self.finite = np.ones(count, dtype=bool)
        self.cut_from = np.full(count, -np.inf)

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Chooses the first steps where they were not given, which needs f at t0 and once more."""
        if self.settings.first_step is None:
            every = self.samples.every()
            k0 = evaluate(self.samples.instants(every, self.t0), y0) if k0 is None else k0
            self.h = self._first_steps(evaluate, every, y0, k0)
        return k0

    def _first_steps(
        self, evaluate: Evaluate, every: np.ndarray, y0: Tensor, k0: Tensor
    ) -> np.ndarray:
        """As a joint solve's, of every sample (one evaluation)."""
        longest = np.minimum(self.span, self.settings.max_step or np.inf)
        with torch.no_grad():
            scale = control.error_scale(self.settings.tolerances, y0, y0)
            d0, d1 = torch.stack([self.norm(x / scale) for x in (y0, k0)]).tolist()
            h0 = np.array(list(map(control.trial_length, d0, d1, longest.tolist())))
            self.finite = np.isfinite(d0) & np.isfinite(d1)
            y1 = torch.addcmul(y0, k0, self.samples.lengths(self.sign * h0))
        k1 = evaluate(self.samples.instants(every, self.t0 + self.sign * h0), y1)
        with torch.no_grad(), np.errstate(divide="ignore", invalid="ignore"):
            d2 = np.array(self.norm((k1 - k0) / scale).tolist()) / h0
        lengths = (
            control.starting_length(*given, self.order)
            for given in zip(h0, d1, d2.tolist(), self.span.tolist(), strict=True)
        )
        return np.where(self.finite, np.array(list(lengths)), h0)

    def propose(self, progress: SampleProgress, rows: np.ndarray, y: Tensor) -> np.ndarray:
        """Their t + h, or the next time to land on where that lies no more than 1% further.

        Raises:
            MaxStepsExceeded: `max_steps` attempts of one have been made.
            StepSizeUnderflow: an h is below the resolution of t.
            NonFiniteError: so it is, because the field's values are not finite.
        """
        settings, t = self.settings, progress.t[rows]
        h = np.clip(self.h[rows], settings.min_step, settings.max_step)
        sign, finite = self.sign[rows], self.finite[rows]
        spent = progress.accepted[rows] + progress.rejected[rows] >= settings.max_steps
        stuck = ~finite & (h <= settings.min_step)
        short = ~(h > 16 * np.spacing(np.abs(t)))
        for kind, message, failed in (
            (MaxStepsExceeded, control.too_many_steps(settings), spent),
            (NonFiniteError, control.NOT_FINITE, (stuck | short) & ~finite),
            (StepSizeUnderflow, control.too_short(settings), short),
        ):
            if failed.any():
                of = self.samples.index(np.flatnonzero(failed))
                progress.fail(kind, message, rows[failed], (sign * h)[failed], y[of])
        stop = self._next_stop(t, rows)
        lands = 1.01 * h >= np.abs(stop - t)
        self.cut_from[rows] = np.where(lands, h, -np.inf)
        self.h[rows] = np.where(lands, np.abs(stop - t), h)
        return np.where(lands, stop, t + sign * h)

    def _next_stop(self, t: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The next time to land on."""
        stop, sign = self.t_end[rows], self.sign[rows]
        for time in map(float, self.settings.step_t):
            nearer = (sign * (time - t) > 0) & (sign * (stop - time) > 0)
            stop = np.where(nearer, time, stop)
        return stop

    def judge(self, rows: np.ndarray, ratio: np.ndarray) -> np.ndarray:
        """Accepts where the ratio is at most 1 or h is `min_step`, and sets the next step sizes."""
        settings, h = self.settings, self.h[rows]
        finite = np.isfinite(ratio)
        accepted = finite & ((ratio <= 1) | (h <= settings.min_step))
        grow, shrink = control.step_factors(
            settings,
            self.exponent,
            np.where(finite, ratio, 1.0),
            self.before[rows],
            np.minimum,
            np.maximum,
        )
        grow = np.where(self.grew_wrong[rows], np.minimum(grow, 1.0), grow)
        # A step cut short to land says nothing against the length proposed before.
        after = np.maximum(h * grow, self.cut_from[rows])
        again = h * np.where(finite, shrink, settings.min_factor)
        self.h[rows] = np.where(accepted, after, again)
        self.before[rows] = np.where(accepted, np.maximum(ratio, 1e-4), self.before[rows])
        self.grew_wrong[rows] = ~accepted
        self.finite[rows] = finite
        return accepted
