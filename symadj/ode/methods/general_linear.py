"""Steps on several states at once that are linear in these states and in the values of f."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from symadj.errors import IncompatibleError
from symadj.ode.methods.base import Attempt, Evaluate, Observe, StepMethod
from symadj.ode.methods.slope import NODES, slope_weights


@dataclass(frozen=True)
class Sum:
    """sum_p u_p x_p + sum_i a_i k_i, over states x_p and values k_i of f.

    Attributes:
        states: u_p by p, where not zero.
        stages: a_i by i, where not zero; the step size is in them.
    """

    states: dict[int, float]
    stages: dict[int, float]

    @staticmethod
    def of(states: dict[int, float], stages: dict[int, float] | None = None) -> Sum:
        """Without the weights that are zero."""
        return Sum(_kept(states), _kept(stages or {}))

    def __add__(self, other: Sum) -> Sum:
        return Sum.of(_added(self.states, other.states), _added(self.stages, other.stages))

    def __mul__(self, factor: float) -> Sum:
        states, stages = ({i: factor * w for i, w in d.items()} for d in (self.states, self.stages))
        return Sum.of(states, stages)

    def value(self, states: Sequence[Tensor], ks: Sequence[Tensor | None]) -> Tensor:
        """The sum; one state with the weight 1 and nothing else is that state itself."""
        if not self.stages and list(self.states.values()) == [1.0]:
            return states[next(iter(self.states))]
        terms = [(states[p], w) for p, w in self.states.items()]
        for i, w in self.stages.items():
            k = ks[i]
            assert k is not None, f"stage {i} was not evaluated"
            terms.append((k, w))
        return weighted(terms)


def weighted(terms: Sequence[tuple[Tensor, float]]) -> Tensor:
    """The sum of weight times tensor, at least one: one new tensor, then added to in place."""
    (first, weight), *rest = terms
    out = first.clone() if weight == 1 else torch.mul(first, weight)
    for tensor, w in rest:
        out.add_(tensor, alpha=w)
    return out


def _kept(weights: dict[int, float]) -> dict[int, float]:
    return {i: float(w) for i, w in weights.items() if w != 0}


def _added(a: dict[int, float], b: dict[int, float]) -> dict[int, float]:
    return {i: a.get(i, 0.0) + b.get(i, 0.0) for i in (*a, *(j for j in b if j not in a))}


@dataclass(frozen=True)
class Inverse:
    """The way back of a step: its stages and its start from its end.

    Attributes:
        order: in which the stages can be evaluated.
        stages: Y_i, of the states at the end and of stages before it in `order`, by i.
        starts: the states at the start, of those at the end and of all stages.
    """

    order: tuple[int, ...]
    stages: tuple[Sum, ...]
    starts: tuple[Sum, ...]


@dataclass(frozen=True)
class Coefficients:
    """A step of one length.

    Attributes:
        stages: Y_i, of the states at the start and of the values of earlier stages.
        ends: the states at the end.
        errors: the estimates of y's error, none, one or (DOP853's) two.
        inverse: the way back, or None.
    """

    stages: tuple[Sum, ...]
    ends: tuple[Sum, ...]
    errors: tuple[Sum, ...] = ()
    inverse: Inverse | None = None


class GeneralLinear(StepMethod):
    """An explicit general linear method whose first state is the solution.

        Y_i = sum_p u_ip x_p + h sum_{j<i} a_ij k_j,    k_i = f(t0 + c_i h, Y_i)
        x'_q = sum_p v_qp x_p + h sum_i b_qi k_i,       y = x_0

    (Butcher, Numerical Methods for Ordinary Differential Equations, ch. 5), where the weights may
    depend on h, so that a state can be a derivative. The states lie in one tensor
    [r, *shape of y].

    Attributes:
        nodes: c_i.
        states: r.
    """

    nodes: tuple[float, ...]
    states: int
    has_own_state = True

    @abstractmethod
    def coefficients(self, h: float) -> Coefficients:
        """Of a step of the (signed) length h."""

    @abstractmethod
    def dense_sum(self, h: float, theta: float) -> Sum:
        """y(t0 + theta h) of the states at the start and of the stages."""

    def y_of(self, state: Tensor) -> Tensor:
        """The first of the states."""
        return state[0]

    def cotangent_of(self, g: Tensor) -> Tensor:
        """g in the place of y, zeros in the others'."""
        whole = g.new_zeros((self.states, *g.shape))
        whole[0] = g
        return whole

    def time(self, attempt: Attempt, i: int) -> float:
        """The time of stage i: t0 and t1 exactly at the ends."""
        c = self.nodes[i]
        return attempt.t0 if c == 0 else attempt.t1 if c == 1 else attempt.t0 + c * attempt.h

    def attempt(
        self,
        evaluate: Evaluate,
        t0: float,
        t1: float,
        y0: Tensor,
        k0: Tensor | None = None,
        observe: Observe | None = None,
    ) -> Attempt:
        """All stages, and the states at the end."""
        attempt = Attempt(t0, t1, y0, self.stages)
        attempt.ks[0] = k0
        attempt.reused = k0 is not None
        if k0 is not None and observe is not None:
            observe(attempt, 0)
        self.fill(evaluate, attempt, observe=observe)
        states = y0.unbind()
        sums = self.coefficients(attempt.h).ends
        attempt.y1 = torch.stack([one.value(states, attempt.ks) for one in sums])
        return attempt

    def fill(
        self,
        evaluate: Evaluate,
        attempt: Attempt,
        wanted: Collection[int] | None = None,
        observe: Observe | None = None,
    ) -> None:
        """Evaluates the stages that are not held, all or those that are wanted."""
        states = attempt.y0.unbind()
        for i, one in enumerate(self.coefficients(attempt.h).stages):
            if attempt.ks[i] is None and (wanted is None or i in wanted):
                y = one.value(states, attempt.ks)
                attempt.ks[i] = evaluate(self.time(attempt, i), y)
                if observe is not None:
                    observe(attempt, i)

    def needed_stages(self, thetas: Sequence[float]) -> tuple[int, ...]:
        """Those that are of use beside the error estimate."""
        own = self.coefficients(1.0)
        found: set[int] = set()
        waiting = [*own.ends, *(self.dense_sum(1.0, theta) for theta in thetas)]
        while waiting:
            new = waiting.pop().stages.keys() - found
            found |= new
            waiting += [own.stages[i] for i in new]
        return tuple(sorted(found))

    def carry(self, attempt: Attempt) -> Tensor | None:
        """The end stage's value, where there is such a stage."""
        return None if self.end is None else attempt.ks[self.end]

    def retry(self, attempt: Attempt) -> Tensor | None:
        """The first stage's value, where that is f of a state at the start."""
        return None if self.end is None else attempt.ks[0]

    def estimate(
        self, evaluate: Evaluate, attempt: Attempt, observe: Observe | None = None
    ) -> tuple[Tensor, ...]:
        """Those of `Coefficients.errors`."""
        states = attempt.y0.unbind()
        return tuple(e.value(states, attempt.ks) for e in self.coefficients(attempt.h).errors)

    def dense(self, evaluate: Evaluate, attempt: Attempt, thetas: Sequence[float]) -> list[Tensor]:
        """By `dense_sum`, without further evaluations."""
        states = attempt.y0.unbind()
        return [self.dense_sum(attempt.h, theta).value(states, attempt.ks) for theta in thetas]

    def slope(self, evaluate: Evaluate, attempt: Attempt, theta: float) -> Tensor:
        """Of `dense_sum`, without further evaluations."""
        h = attempt.h
        weighted_sums = (
            self.dense_sum(h, node) * (w / h)
            for node, w in zip(NODES, slope_weights(theta), strict=True)
        )
        return functools.reduce(Sum.__add__, weighted_sums).value(attempt.y0.unbind(), attempt.ks)


def reversible(solver: StepMethod) -> GeneralLinear:
    """A method whose steps can be taken back.

    Raises:
        IncompatibleError: one that has no inverse.
    """
    if isinstance(solver, GeneralLinear) and solver.coefficients(1.0).inverse is not None:
        return solver
    raise IncompatibleError(
        f"gradient=reversible needs a method whose steps can be taken back, and method="
        f"{solver.name} has no inverse. Take alf (but not with damping=0.5), alf4, alf6, "
        "reversible_heun, or reversible with base=dopri5 or the like; or gradient=symplectic, "
        "which goes with any method."
    )


def hermite(theta: float, h: float, y0: Sum, f0: Sum, y1: Sum, f1: Sum) -> Sum:
    """The cubic with these values and derivatives at the ends of a step."""
    rest = 1 - theta
    return (
        y0 * (rest * rest * (1 + 2 * theta))
        + f0 * (h * theta * rest * rest)
        + y1 * (theta * theta * (3 - 2 * theta))
        + f1 * (-h * theta * theta * rest)
    )
