"""A velocity field that makes samples of noise, and gradients through the solve that does so."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.errors import InputError, NonFiniteError
from symadj.ode.user_function import Func

Loss = Callable[[Tensor], Tensor]
"""The loss of every sample: x [B, ...] -> [B]."""


@dataclass
class Guided:
    """What a way of guiding has come to.

    Attributes:
        x0: [B, ...], what the samples were made of.
        x1: [B, ...], the samples.
        losses: [B], of the samples.
        path: [T, B, ...], states on the way from x0 to x1, both included.
        times: [T], of these.
    """

    x0: Tensor
    x1: Tensor
    losses: Tensor
    path: Tensor
    times: Tensor


class Sampler:
    """Samples x(t1) of noise x(t0), by dx/dt = f(t, x).

    Args:
        field: f, a module or any callable f(t, x) with a scalar t and x [B, ...]; no sample's
            velocity may depend on the other samples.
        integrator: solver and gradient method.
        t0: the time of noise.
        t1: the time of data; earlier than t0 for a model whose time runs that way.

    Raises:
        InputError: t0 and t1 are the same.
    """

    def __init__(
        self, field: Func, integrator: Integrator, t0: float = 0.0, t1: float = 1.0
    ) -> None:
        if t0 == t1:
            raise InputError(f"t0={t0:g} and t1={t1:g}: samples need an interval of time.")
        self.field = field
        self.integrator = integrator
        self.t0 = float(t0)
        self.t1 = float(t1)

    @property
    def num_steps(self) -> int | None:
        """The number of equal steps of a sample; None: the solver's steps are others."""
        return self.integrator.solver.num_steps

    def times(self, intervals: int) -> list[float]:
        """The ends of so many equal intervals, from t0 to t1."""
        span = self.t1 - self.t0
        return [self.t0 + span * (i / intervals) for i in range(intervals)] + [self.t1]

    def sample(self, x0: Tensor) -> Tensor:
        """The samples x(t1) [B, ...] of noise x0 [B, ...]; differentiable."""
        return self.carry(x0, self.t0, self.t1)

    def carry(self, x: Tensor, t: float, until: float, steps: int | None = None) -> Tensor:
        """The state at a later time; differentiable.

        Args:
            x: the state at t, [B, ...].
            t: a time.
            until: the later one.
            steps: so many equal steps, by the solver's method; None: as its settings say.
        """
        integrator = self.integrator
        if steps is not None:
            integrator = integrator.with_settings(num_steps=steps, step_size=None, grid=None)
        return self._solve(integrator, x, [t, until])[-1]

    def estimate(self, x: Tensor, t: float) -> Tensor:
        """The sample that one step of Euler's method makes of a state: x + (t1 - t) f(t, x)."""
        if t == self.t1:
            return x
        # One use of the field: there is nothing that a method could save.
        euler = self.integrator.with_settings(
            "backprop", method="euler", num_steps=1, step_size=None, grid=None, base=None,
            coupling=None, damping=None, compile=False,
        )  # fmt: skip
        return self._solve(euler, x, [t, self.t1])[-1]

    def path(self, x0: Tensor, points: int = 9) -> tuple[Tensor, Tensor]:
        """States [points, B, ...] at equal distances in time, without graph, and their times."""
        times = self.times(points - 1)
        with torch.no_grad():
            states = self._solve(self.integrator, x0, times)
        return states, torch.tensor(times, dtype=torch.float64)

    def value_and_gradient(
        self, loss: Loss, x: Tensor, t: float | None = None, steps: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """The losses of the samples that states lead to, and their gradient in the states.

        As no sample depends on the others, the gradient of the sum of all losses is, for every
        sample, that of its own.

        Args:
            loss: of samples, [B].
            x: the states at t.
            t: None: t0.
            steps: as in `carry`; 0: through `estimate`.

        Returns:
            The losses [B] and the gradient [B, ...]; neither has a graph.

        Raises:
            InputError: a loss that is not one number per sample, or depends on no sample.
            NonFiniteError: a sample, a loss or a gradient is not finite.
        """
        t = self.t0 if t is None else t
        with torch.enable_grad(), frozen(self.field):
            x = x.detach().requires_grad_()
            x1 = self.estimate(x, t) if steps == 0 else self.carry(x, t, self.t1, steps)
            losses = checked_losses(loss, x1)
            if not losses.requires_grad:
                raise InputError(
                    "the loss of the samples has no gradient: it must be computed from them by "
                    "differentiable operations of torch."
                )
            [gradient] = torch.autograd.grad(losses.sum(), [x])
        losses = losses.detach()
        if not (torch.isfinite(losses).all() and torch.isfinite(gradient).all()):
            raise NonFiniteError(
                "the loss of the samples or its gradient became infinite or NaN",
                phase="backward", t=t, h=self.t1 - t, steps=0, rejects=0,
                largest=float(x.detach().abs().max()),
            )  # fmt: skip
        return losses, gradient

    def _solve(self, integrator: Integrator, x: Tensor, times: list[float]) -> Tensor:
        t = torch.tensor(times, dtype=torch.float64, device=x.device)
        return integrator.solve(self.field, x, t).ys


def checked_losses(loss: Loss, x1: Tensor) -> Tensor:
    """The losses [B] of samples [B, ...].

    Raises:
        InputError: something else than a number for each.
    """
    losses = loss(x1)
    if not isinstance(losses, Tensor) or losses.shape != x1.shape[:1]:
        given = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
        raise InputError(
            f"the loss of {len(x1)} samples is {given}; needed is a tensor of shape "
            f"({len(x1)},), a number for each sample."
        )
    return losses


@contextlib.contextmanager
def frozen(field: Func) -> Iterator[None]:
    """Within it no parameter of a module needs a gradient, so that none is computed."""
    weights = field.parameters() if isinstance(field, nn.Module) else ()
    moved = [weight for weight in weights if weight.requires_grad]
    for weight in moved:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in moved:
            weight.requires_grad_(True)
