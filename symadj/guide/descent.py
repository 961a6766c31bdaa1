"""Descents that treat every sample of a batch on its own, though all are evaluated at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from symadj.errors import InputError, suggest

_CURVED = 1e-10
_ARMIJO = 1e-4


class Descent(ABC):
    """Minimises a function of every sample, from one evaluation of the whole batch to the next."""

    @abstractmethod
    def next(self, x: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:
        """Where to evaluate next, [B, ...].

        Args:
            x: where all samples were evaluated now: what was returned last, or the start.
            losses: [B].
            gradient: [B, ...].
        """


class Adam(Descent):
    """Adam (Kingma, Ba 2015), entry by entry: m / (sqrt(v) + eps) with corrected moments.

    Args:
        lr: learning rate, in units of the state.
        betas: decay rates of the two moments.
        eps: added to the root.
    """

    def __init__(
        self, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        self.lr, self.betas, self.eps = lr, betas, eps
        self._steps = 0
        self._moments: tuple[Tensor, Tensor] | None = None

    def next(self, x: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:
        """`Descent.next`."""
        if self._moments is None:
            self._moments = torch.zeros_like(x), torch.zeros_like(x)
        (m, v), (first, second) = self._moments, self.betas
        self._steps += 1
        m.lerp_(gradient, 1 - first)
        v.lerp_(gradient.square(), 1 - second)
        mean = m / (1 - first**self._steps)
        root = (v / (1 - second**self._steps)).sqrt()
        return x - self.lr * mean / (root + self.eps)


class LBFGS(Descent):
    """L-BFGS with a line search by backtracking (Nocedal, Wright 2006, sections 3.1 and 7.2).

    Every sample has its own memory, direction d and step a. At an evaluation a sample whose loss
    has fallen far enough,

        f(x + a d) <= f(x) + 1e-4 a g^T d,

    goes on from there with a new direction and a = 1; any other one tries again, with the a of the
    parabola through what it knows, kept between a/10 and a/2. So each evaluation of the batch
    serves all samples, and what a sample does is what it would do alone.

    Args:
        lr: length of the first trial step of a sample, in units of the state; directions have
            their own length from the second one on.
        memory: pairs of differences that are kept.
    """

    def __init__(self, lr: float, memory: int = 10) -> None:
        self.lr, self.memory = lr, memory
        self._at: _Place | None = None
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []

    def next(self, x: Tensor, losses: Tensor, gradient: Tensor) -> Tensor:
        """`Descent.next`."""
        shape, now = x.shape, (x.flatten(1), losses, gradient.flatten(1))
        if self._at is None:
            size = now[2].norm(dim=1)
            step = torch.where(size > 0, self.lr / size, 0.0)
            self._at = _Place(*now, direction=-now[2], step=step)
        else:
            self._at = self._learned(self._at, *now)
        at = self._at
        return (at.x + at.step.unsqueeze(1) * at.direction).reshape(shape)

    def _learned(self, at: _Place, x: Tensor, losses: Tensor, gradient: Tensor) -> _Place:
        """Where all samples are after an evaluation at x."""
        slope, rise = _dot(at.gradient, at.direction), losses - at.losses
        fell = torch.isfinite(losses) & (rise <= _ARMIJO * at.step * slope)
        # Of a loss that is no number the parabola says nothing.
        bend = torch.where(torch.isfinite(rise), 2 * (rise - at.step * slope), torch.inf)
        shorter = torch.clamp(-slope * at.step.square() / bend, 0.1 * at.step, 0.5 * at.step)
        self._remember(fell, x - at.x, gradient - at.gradient)
        moved = fell.unsqueeze(1)
        gradient = torch.where(moved, gradient, at.gradient)
        return _Place(
            torch.where(moved, x, at.x),
            torch.where(fell, losses, at.losses),
            gradient,
            torch.where(moved, self._descent(gradient), at.direction),
            torch.where(fell, torch.ones_like(at.step), shorter),
        )

    def _remember(self, fell: Tensor, s: Tensor, y: Tensor) -> None:
        """Keeps a pair; of a sample that has not moved, or sees no curvature, a pair of no use."""
        along = _dot(s, y)
        useful = fell & (along > _CURVED * _dot(y, y))
        rho = torch.where(useful, 1 / torch.where(useful, along, 1.0), 0.0)
        if not self._pairs:
            self._pairs = [(torch.zeros_like(s), torch.zeros_like(y), torch.zeros_like(rho))]
            self._pairs *= self.memory
        # The oldest pair of the samples that have a new one makes room; the others keep theirs.
        older = [*self._pairs[1:], (s, y, rho)]
        keep = useful.unsqueeze(1)
        self._pairs = [
            (torch.where(keep, s1, s0), torch.where(keep, y1, y0), torch.where(useful, r1, r0))
            for (s0, y0, r0), (s1, y1, r1) in zip(self._pairs, older, strict=True)
        ]

    def _descent(self, gradient: Tensor) -> Tensor:
        """The direction of the two-loop recursion; downhill where that is not."""
        q, alphas = gradient, []
        for s, y, rho in reversed(self._pairs):
            alphas.append(rho * _dot(s, q))
            q = q - alphas[-1].unsqueeze(1) * y
        s, y, rho = self._pairs[-1]
        scale = torch.where(rho > 0, 1 / (rho * _dot(y, y)).clamp_min(_CURVED), 1.0)
        q = scale.unsqueeze(1) * q
        for (s, y, rho), alpha in zip(self._pairs, reversed(alphas), strict=True):
            q = q + (alpha - rho * _dot(y, q)).unsqueeze(1) * s
        downhill = (_dot(q, gradient) > 0).unsqueeze(1)
        return -torch.where(downhill, q, gradient)


class _Place(NamedTuple):
    """Where the samples are: states, losses and gradients, directions and steps from there."""

    x: Tensor
    losses: Tensor
    gradient: Tensor
    direction: Tensor
    step: Tensor


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of every sample, [B]."""
    return (a * b).sum(1)


DESCENTS = {"lbfgs": LBFGS, "adam": Adam}


def descent_named(name: str, lr: float) -> Descent:
    """A descent of `DESCENTS`.

    Raises:
        InputError: an unknown name.
    """
    if name not in DESCENTS:
        raise InputError(f"unknown optimizer={name!r}.{suggest(name, DESCENTS)}")
    return DESCENTS[name](lr)
