"""Where steps end: fixed grids, and step sizes that follow the error estimate."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from symadj.errors import (
    MaxStepsExceeded,
    NewtonError,
    NonFiniteError,
    SolveError,
    StepSizeUnderflow,
)
from symadj.ode.layout import StateLayout
from symadj.ode.methods import Evaluate
from symadj.ode.settings import SolverSettings
from symadj.ode.stats import SolveStats

Norm = Callable[[Tensor], Tensor]

Tolerances = tuple[float, float] | tuple[Tensor, Tensor]
"""rtol and atol."""


class Progress:
    """How far a solve has come: what its counts and a failure's diagnosis are made of."""

    def __init__(
        self, stats: SolveStats, phase: str, t: float, y: Tensor, *, careful: bool = False
    ) -> None:
        self.stats = stats
        self.careful = careful
        self.phase = phase
        self.t = t
        self.h = 0.0
        self.y = y
        self.accepted = 0
        self.rejected = 0

    def accept(self, t: float, y: Tensor) -> None:
        """One more accepted step, to (t, y).

        Raises:
            NonFiniteError: y is not finite, where every step is to be looked at (`careful`).
        """
        if self.careful and not bool(torch.isfinite(y).all()):
            self.h = t - self.t
            raise self.failure(NonFiniteError, "the state became infinite or NaN in this step")
        self.t, self.y = t, y
        self.accepted += 1
        self.stats.accepted += 1

    def reject(self) -> None:
        """One more rejected step."""
        self.rejected += 1
        self.stats.rejected += 1

    def failure(self, kind: type[SolveError], message: str) -> SolveError:
        """An error of this kind with the diagnosis of this moment."""
        largest = float(self.y.detach().abs().amax()) if self.y.numel() else 0.0
        return kind(
            message,
            phase=self.phase,
            t=self.t,
            h=self.h,
            steps=self.accepted,
            rejects=self.rejected,
            largest=largest,
        )


class StepController(Protocol):
    """Proposes the end of each step and judges the attempt; one object serves one solve."""

    adaptive: bool

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Called once before the first step; returns f(t0, y0) where it is known."""
        ...

    def propose(self, progress: Progress) -> float:
        """The time at which the next attempt ends."""
        ...

    def judge(self, progress: Progress, ratio: float) -> bool:
        """Whether an attempt with this error, in units of the tolerance, is accepted."""
        ...

    def shorten(self, progress: Progress, h: float, failure: str) -> None:
        """An attempt of the signed length h has failed; the next one is to be shorter.

        Raises:
            NewtonError: it cannot be.
        """
        ...


class FixedSteps:
    """Steps that end at given times, all of them accepted."""

    adaptive = False

    def __init__(self, times: Sequence[float]) -> None:
        self.times = times

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Nothing needs to be known beforehand."""
        return k0

    def propose(self, progress: Progress) -> float:
        """The next time of the grid."""
        return self.times[progress.accepted + 1]

    def judge(self, progress: Progress, ratio: float) -> bool:
        """Every step counts."""
        return True

    def shorten(self, progress: Progress, h: float, failure: str) -> None:
        """Fixed steps are as long as they are."""
        progress.h = h
        raise progress.failure(
            NewtonError,
            f"{failure}. Take shorter steps, an adaptive solver without fixed steps, a larger "
            "newton_tol or max_newton, or linear_solver=dense",
        )


class EndlessSteps(FixedSteps):
    """Fixed steps of one length, for as long as they are asked for.

    Args:
        start: where they begin.
        h: their signed length.
        most: how many there may be.
    """

    def __init__(self, start: float, h: float, most: int) -> None:
        super().__init__((start,))
        self.h = h
        self.most = most

    def propose(self, progress: Progress) -> float:
        """The next time of the grid.

        Raises:
            MaxStepsExceeded: there have been `most` steps.
        """
        if progress.accepted >= self.most:
            raise progress.failure(
                MaxStepsExceeded, f"the solve needs more than max_steps={self.most} steps"
            )
        progress.h = self.h
        return self.times[0] + (progress.accepted + 1) * self.h


class AdaptiveSteps:
    """The I or PI controller of Hairer, Norsett, Wanner (Solving ODEs I, II.4; II, IV.2).

    With r the error in units of the tolerance and q the order of the error estimate, an accepted
    step of length h is followed by one of

        h * clip(safety * r^-(1/q - 0.75 beta) * r_before^beta, min_factor, max_factor),

    with r_before = 1 at first; a rejected one is repeated with

        h * max(min_factor, safety * r^-(1/q - 0.75 beta)),

    and the step after a rejection does not grow. With beta = 0, the default, it is an I controller.

    Args:
        settings: tolerances, limits and factors.
        times: t[0] and t[-1].
        order: q.
        norm: of the scaled error.
        first_step: overrides the settings' own.
    """

    adaptive = True

    def __init__(
        self,
        settings: SolverSettings,
        times: Sequence[float],
        order: int,
        norm: Norm,
        first_step: float | None = None,
    ) -> None:
        self.settings = settings
        self.t0, self.t_end = times[0], times[-1]
        self.sign = math.copysign(1.0, self.t_end - self.t0)
        self.span = abs(self.t_end - self.t0)
        stops = {*settings.stops(self.t0, self.t_end), self.t_end}
        self.stops = sorted(stops, reverse=self.sign > 0)
        self.exponent = 1 / order - 0.75 * settings.pi_beta
        self.order = order
        self.norm = norm
        self.h = first_step or settings.first_step
        self.before = 1.0
        self.grew_wrong = False
        self.finite = True
        self.cut_from: float | None = None
        self.unsolved: str | None = None

    def begin(self, evaluate: Evaluate, y0: Tensor, k0: Tensor | None) -> Tensor | None:
        """Chooses the first step where it was not given, which needs f(t0, y0) and one more."""
        if self.h is None:
            k0 = evaluate(self.t0, y0) if k0 is None else k0
            self.h = self._first_step(evaluate, y0, k0)
        return k0

    def _first_step(self, evaluate: Evaluate, y0: Tensor, k0: Tensor) -> float:
        """The starting step size of Hairer, Norsett, Wanner II.4 (one evaluation)."""
        settings = self.settings
        with torch.no_grad():
            scale = error_scale(settings.tolerances, y0, y0)
            d0, d1 = (float(self.norm(x / scale)) for x in (y0, k0))
            h0 = trial_length(d0, d1, min(self.span, settings.max_step or math.inf))
            if not (math.isfinite(d0) and math.isfinite(d1)):
                self.finite = False
                return h0
            y1 = torch.add(y0, k0, alpha=self.sign * h0)
        k1 = evaluate(self.t0 + self.sign * h0, y1)
        with torch.no_grad():
            d2 = float(self.norm((k1 - k0) / scale)) / h0
        return starting_length(h0, d1, d2, self.span, self.order)

    def propose(self, progress: Progress) -> float:
        """t + h, or the next time to land on where that lies no more than 1% further.

        Raises:
            MaxStepsExceeded: `max_steps` attempts have been made.
            StepSizeUnderflow: h is below the resolution of t.
            NewtonError: so it is, because the equations of no longer step were solved.
            NonFiniteError: so it is, because the field's values are not finite.
        """
        settings, t = self.settings, progress.t
        assert self.h is not None
        if progress.accepted + progress.rejected >= settings.max_steps:
            raise progress.failure(MaxStepsExceeded, too_many_steps(settings))
        self.h = max(min(self.h, settings.max_step or math.inf), settings.min_step)
        progress.h = self.sign * self.h
        stuck = self.h <= settings.min_step and not (self.finite and self.unsolved is None)
        if stuck or not self.h > 16 * math.ulp(t):
            if not self.finite:
                raise progress.failure(NonFiniteError, NOT_FINITE)
            if self.unsolved is not None:
                raise progress.failure(
                    NewtonError,
                    f"{self.unsolved}, at the shortest step too. Take a larger newton_tol or "
                    "max_newton, linear_solver=dense, or a float64 state",
                )
            raise progress.failure(StepSizeUnderflow, too_short(settings))
        return self._end(t)

    def _end(self, t: float) -> float:
        """Where a step of length h from t ends, which may change h."""
        assert self.h is not None
        while self.sign * (self.stops[-1] - t) <= 0:
            self.stops.pop()
        stop = self.stops[-1]
        if 1.01 * self.h >= abs(stop - t):
            self.cut_from = self.h
            self.h = abs(stop - t)
            return stop
        self.cut_from = None
        return t + self.sign * self.h

    def judge(self, progress: Progress, ratio: float) -> bool:
        """Accepts where the ratio is at most 1 or h is `min_step`, and sets the next step size."""
        settings = self.settings
        assert self.h is not None
        self.unsolved = None
        self.finite = math.isfinite(ratio)
        if not self.finite:
            self.h *= settings.min_factor
            self.grew_wrong = True
            return False
        grow, shrink = step_factors(settings, self.exponent, ratio, self.before)
        if ratio > 1 and self.h > settings.min_step:
            self.h *= shrink
            self.grew_wrong = True
            return False
        self.h *= min(grow, 1.0) if self.grew_wrong else grow
        if self.cut_from is not None:
            # A step cut short to land says nothing against the length proposed before.
            self.h = max(self.h, self.cut_from)
        self.before = max(ratio, 1e-4)
        self.grew_wrong = False
        return True

    def shorten(self, progress: Progress, h: float, failure: str) -> None:
        """The next attempt has half the length."""
        self.h = abs(h) / 2
        self.unsolved = failure
        self.grew_wrong = True


NOT_FINITE = "the field or the state is infinite or NaN at every step size"


def too_many_steps(settings: SolverSettings) -> str:
    """What a `MaxStepsExceeded` says."""
    return (
        f"the solve needs more than max_steps={settings.max_steps} steps; the problem may be "
        "stiff, the tolerance too tight for the dtype, or max_steps too small"
    )


def too_short(settings: SolverSettings) -> str:
    """What a `StepSizeUnderflow` says."""
    return (
        "the step size fell below the resolution of t; the problem may be stiff or discontinuous, "
        f"or rtol={settings.rtol}, atol={settings.atol} too tight for the dtype (float64 resolves "
        "more)"
    )


def trial_length(d0: float, d1: float, longest: float) -> float:
    """The length of the trial step of Hairer, Norsett, Wanner II.4.

    Args:
        d0: norm of y0 in units of the tolerance.
        d1: that of f(t0, y0).
        longest: that is allowed.
    """
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01 * d0 / d1
    h0 = min(h0, longest)
    return h0 if math.isfinite(h0) else 1e-6


def starting_length(h0: float, d1: float, d2: float, span: float, order: int) -> float:
    """The starting step size of Hairer, Norsett, Wanner II.4.

    Args:
        h0: length of the trial step.
        d1: norm of f(t0, y0) in units of the tolerance.
        d2: norm of the second derivative, from the trial step.
        span: length of the interval.
        order: of the error estimate.
    """
    steepest = max(d1, d2)
    if steepest <= 1e-15 or not math.isfinite(steepest):
        h1 = max(1e-6, h0 * 1e-3)
    else:
        h1 = (0.01 / steepest) ** (1 / order)
    return min(100 * h0, h1, span)


def step_factors(
    settings: SolverSettings,
    exponent: float,
    ratio: Any,
    before: Any,
    least: Callable[[Any, Any], Any] = min,
    largest: Callable[[Any, Any], Any] = max,
) -> tuple[Any, Any]:
    """The factors on h after an accepted and after a rejected step (see `AdaptiveSteps`).

    Args:
        settings: the bounds of the factors, the safety, beta.
        exponent: 1/q - 0.75 beta.
        ratio: r; a number, or an array with an entry a sample.
        before: r_before, likewise.
        least: the smaller one of two such.
        largest: the larger one.
    """
    wanted = settings.safety * largest(ratio, 1e-10) ** -exponent
    grow = least(
        largest(wanted * before**settings.pi_beta, settings.min_factor), settings.max_factor
    )
    return grow, largest(settings.min_factor, least(wanted, 1.0))


def norm_of(settings: SolverSettings, layout: StateLayout) -> Norm:
    """The norm of an error in the engine's layout."""
    user = settings.norm
    if user is None:
        return layout.rms_over_ranks if settings.sync else layout.rms
    return lambda flat: user(layout.unflatten(flat))


def error_ratio(
    tolerances: Tolerances, norm: Norm, y0: Tensor, y1: Tensor, estimates: Sequence[Tensor]
) -> Tensor:
    """The error in units of the tolerance, a scalar tensor.

    With scale = atol + rtol max(|y0|, |y1|): norm(e / scale), or for the two estimates of DOP853
    n5^2 / sqrt(n5^2 + 0.01 n3^2) (Hairer, Norsett, Wanner II.10).
    """
    with torch.no_grad():
        scale = error_scale(tolerances, y0, y1)
        return ratio_of([norm(e / scale) for e in estimates])


def error_scale(tolerances: Tolerances, y0: Tensor, y1: Tensor) -> Tensor:
    """atol + rtol max(|y0|, |y1|)."""
    rtol, atol = tolerances
    if y0.dtype.itemsize == 2:
        # Quotients by it leave the range of float16, in which small tolerances are zero.
        y0, y1 = y0.float(), y1.float()
    return torch.maximum(y0.abs(), y1.abs()).mul_(rtol).add_(atol)


def ratio_of(norms: Sequence[Tensor]) -> Tensor:
    """One figure from the norm of the one estimate, or of the two."""
    if len(norms) == 1:
        return norms[0]
    fifth, third = norms
    tiny = torch.finfo(fifth.dtype).tiny
    return fifth**2 / torch.sqrt(fifth**2 + 0.01 * third**2).clamp_min(tiny)
