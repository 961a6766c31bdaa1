"""Guiding by the state: it is moved at every step of sampling."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from symadj.errors import InputError, NonFiniteError
from symadj.guide.sampler import Guided, Loss, Sampler, checked_losses
from symadj.guide.ways.base import Watch, Way, unwatched
from symadj.ranges import require


class Step(Way):
    """Moves the state at every step of sampling, by the gradient through what remains of it:

        x_{k+1} = step(x_k) - h strength g_k,    g_k = d loss(x_hat(t1)) / d x_k,

    where x_hat(t1) is where n steps of the solver lead from x_k: the guided sampling of Pan et al.
    2023 (arXiv:2312.12030). With n = 0 it is the estimate x_k + (t1 - t_k) f(t_k, x_k), one use of
    the network, as in DPS (Chung et al. 2023, arXiv:2209.14687) and its like.

    Args:
        strength: of the pull, in units of the state over time where the gradient is normalised.
        n: steps from every state to the end; 0: the estimate; None: those that the solver itself
            takes from there.
        normalise: whether every sample's gradient is divided by its norm.
        intervals: how often the state is moved; None: at every step of solver.num_steps.

    Raises:
        InputError: a number out of its range.
    """

    def __init__(
        self,
        strength: float = 10.0,
        n: int | None = 4,
        normalise: bool = True,
        intervals: int | None = None,
    ) -> None:
        require("way", strength=strength, n=n, intervals=intervals)
        self.strength, self.n = strength, n
        self.normalise, self.intervals = normalise, intervals

    def uses(self, sampler: Sampler) -> int:
        """`Way.uses`."""
        solver, whole = sampler.integrator.solver, sampler.num_steps
        if solver.grid is not None:
            raise InputError(
                "way=step with solver.grid: the steps of a grid have no equal intervals. Take "
                "solver.num_steps."
            )
        if self.intervals is None and whole is None:
            raise InputError(
                "way=step moves the state at every one of solver.num_steps steps, and the solver "
                "has none of them. Give way.intervals, or solver.num_steps."
            )
        if self.intervals is None:
            assert whole is not None
            return whole
        if whole is not None and whole % self.intervals:
            raise InputError(
                f"intervals={self.intervals} with solver.num_steps={whole}; the steps must divide "
                "into the intervals evenly."
            )
        return self.intervals

    def __call__(
        self, sampler: Sampler, loss: Loss, x0: Tensor, watch: Watch = unwatched
    ) -> Guided:
        """`Way.__call__`."""
        uses, whole = self.uses(sampler), sampler.num_steps
        steps = None if whole is None else whole // uses
        times, path = sampler.times(uses), [x0.detach()]
        for number, (t, until) in enumerate(itertools.pairwise(times), start=1):
            ahead = self.n
            if ahead is None and steps is not None:
                ahead = steps * (uses + 1 - number)
            try:
                losses, gradient = sampler.value_and_gradient(loss, path[-1], t, ahead)
                watch(number, losses)
                if self.normalise:
                    gradient = _unit(gradient)
                with torch.no_grad():
                    x = sampler.carry(path[-1], t, until, steps)
                    x = x - abs(until - t) * self.strength * gradient
            except NonFiniteError as error:
                raise self._infinite(number, uses, path[-1], t, until - t) from error
            if not torch.isfinite(x).all():
                raise self._infinite(number, uses, path[-1], t, until - t)
            path.append(x)
        with torch.no_grad():
            final = checked_losses(loss, path[-1])
        # As many states as other ways show, of those that there are.
        shown = sorted({round(i * uses / min(8, uses)) for i in range(min(8, uses) + 1)})
        states = torch.stack([path[i] for i in shown])
        moments = torch.tensor([times[i] for i in shown], dtype=torch.float64)
        return Guided(path[0], path[-1], final, states, moments)

    def once(self, sampler: Sampler, loss: Loss, x0: Tensor) -> None:
        """`Way.once`."""
        ahead = sampler.num_steps if self.n is None else self.n
        sampler.value_and_gradient(loss, x0, sampler.t0, ahead)

    def _infinite(self, number: int, uses: int, x: Tensor, t: float, h: float) -> NonFiniteError:
        return NonFiniteError(
            f"at step {number} of {uses} the guided state, or the loss of where it leads, became "
            f"infinite or NaN; take a strength below {self.strength:g}",
            phase="forward", t=t, h=h, steps=number - 1, rejects=0,
            largest=float(x.abs().max()),
        )  # fmt: skip


def _unit(gradient: Tensor) -> Tensor:
    """The gradient of every sample, of norm 1 (0 where it is 0)."""
    flat = gradient.flatten(1)
    norm = flat.norm(dim=1, keepdim=True)
    return torch.where(norm > 0, flat / norm, 0.0).reshape(gradient.shape)
