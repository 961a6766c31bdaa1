"""The integral of the parameters' cotangents along a solve, as a running sum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symadj.ode.engine import Step
from symadj.ode.gradients import ParameterGradients
from symadj.ode.methods import Attempt, RungeKutta
from symadj.ode.settings import SolverSettings

Products = Sequence[Tensor | None]


class Quadrature:
    """A `StepObserver` that adds -h b_i q_i of every accepted step to the parameter gradients.

    q_i = (df/dtheta)^T lambda at stage i. Nothing feeds back from the sum into the solve, so the
    q_i need not be kept as stages: a step holds its own sum, the product of its first stage (which
    a rejected step needs again) and that of its end stage (the next step's first), never s of them.

    Args:
        solver: whose weights b_i, and error weights, are used.
        gradients: receives the sums of accepted steps.
        with_error: also sums the error estimate, for a step control that includes it.
    """

    def __init__(
        self, solver: RungeKutta, gradients: ParameterGradients, *, with_error: bool
    ) -> None:
        self.gradients = gradients
        self.end = solver.end
        self.b = dict(solver.b)
        self.b_err = dict(solver.errors[0]) if with_error and solver.errors else {}
        self.first: Products | None = None
        self.fresh: Products | None = None
        self.restart()

    def restart(self) -> None:
        """Begins a segment, whose first stage's product was just handed over."""
        self.attempt: Attempt | None = None
        self.first, self.fresh = self.fresh, None
        self.last: Products | None = None
        self.sum = ParameterGradients(self.gradients.params)
        self.error = ParameterGradients(self.gradients.params)

    def hand_over(self, products: Products) -> None:
        """The products of the evaluation that was just made."""
        self.fresh = products

    def stage(self, attempt: Attempt, i: int) -> None:
        """Weighs stage i's product: the one just handed over, or the kept one of a first stage."""
        if attempt is not self.attempt:
            self.attempt = attempt
            self.sum = ParameterGradients(self.gradients.params)
            self.error = ParameterGradients(self.gradients.params)
        products = self.first if i == 0 and attempt.reused else self.fresh
        if i == 0:
            self.first = products
        if i == self.end:
            self.last = products
        assert products is not None
        self._weigh(self.sum, products, -attempt.h * self.b.get(i, 0.0))
        self._weigh(self.error, products, -attempt.h * self.b_err.get(i, 0.0))

    def accepted(self, step: Step, attempt: Attempt) -> None:
        """Adds the step's sum; the end stage's product becomes the next first one."""
        self.gradients.add(self.sum.sums)
        self.first, self.last = self.last, None
        self.attempt = None

    def ratio(self, settings: SolverSettings) -> Tensor | None:
        """The error of the attempt's sum, root mean square, in units of the tolerance."""
        scaled = [e for e in self.scaled(settings) if e is not None] if self.b_err else []
        if not scaled:
            return None
        squares = torch.stack([e.abs().square().sum() for e in scaled])
        return squares.sum().div(sum(e.numel() for e in scaled)).sqrt()

    def scaled(self, settings: SolverSettings) -> list[Tensor | None]:
        """The error of the attempt's sum in units of the tolerance, parameter by parameter."""
        scaled: list[Tensor | None] = []
        for error, step, total in zip(
            self.error.sums, self.sum.sums, self.gradients.sums, strict=True
        ):
            if error is None:
                scaled.append(None)
                continue
            before = torch.zeros_like(error) if total is None else total
            after = before if step is None else before + step
            scale = settings.atol + settings.rtol * torch.maximum(before.abs(), after.abs())
            scaled.append(error / scale)
        return scaled

    @staticmethod
    def _weigh(sums: ParameterGradients, products: Products, weight: float) -> None:
        if weight != 0:
            sums.add([None if q is None else q * weight for q in products])
