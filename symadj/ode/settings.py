"""What a solve is asked to do: the method, the tolerances and every option, checked once."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from symadj.errors import IncompatibleError, InputError, suggest
from symadj.memory import require_memory
from symadj.ode.methods import ALIASES, IMPLICIT, SOLVERS, TABLEAUS, StepMethod, method_with
from symadj.ranges import check_settings

INTERPOLATIONS = ("linear", "cubic")
BATCHES = ("joint", "independent")

LINEAR_SOLVERS = ("auto", "dense", "batched", "gmres")

_OF_IMPLICIT = ("newton_tol", "max_newton", "linear_solver", "gmres_restart")
OPTIONS_OF: dict[str, tuple[str, ...]] = {
    "base": ("reversible",),
    "coupling": ("reversible",),
    "damping": ("alf",),
    **dict.fromkeys(_OF_IMPLICIT, tuple(IMPLICIT)),
}
"""The options that some methods have, and which."""

# Names that users bring along from torchdiffeq, with ours.
_KNOWN_ELSEWHERE = {
    "max_num_steps": "max_steps",
    "ifactor": "max_factor",
    "dfactor": "min_factor",
    "grid_points": "step_t",
    "grid_constructor": "grid",
}


@dataclass(frozen=True)
class SolverSettings:
    """A solver with its tolerances and options, as `solve` and the solver configs take them.

    Adaptive stepping is used where the method has an error estimate and none of `step_size`,
    `num_steps`, `grid` is given; a method without an estimate needs one of the three.

    Attributes:
        method: one of `symadj.SOLVERS`.
        rtol: relative tolerance.
        atol: absolute tolerance; a step is accepted where the norm of
            error / (atol + rtol max(|y0|, |y1|)) is at most 1.
        step_size: length of fixed steps, in units of t; the last one is shortened to end at t[-1].
        num_steps: number of equal steps over the whole interval from t[0] to t[-1].
        grid: the times of all steps, from t[0] to t[-1].
        max_steps: attempted steps after which an adaptive solve gives up.
        first_step: length of the first step; None: chosen after Hairer, Norsett, Wanner II.4.
        max_step: the longest step allowed.
        min_step: a step of this length or less is accepted whatever its error, and none is chosen
            shorter (one may be cut shorter to land).
        step_t: times at which a step must end, such as those of a discontinuous derivative.
        jump_t: times at which the field itself jumps: a step ends there, with the field just
            before, and the next one begins with the field just after.
        safety: factor on the predicted step size.
        min_factor: smallest ratio of one step size to the one before.
        max_factor: largest such ratio.
        pi_beta: weight of the previous error in the PI controller; 0 makes it an I controller. What
            suits is in proportion to 1 / order: 0.04 for order 5, less for dop853.
        base: of method="reversible": the explicit Runge-Kutta method that is made reversible; None:
            dopri5.
        coupling: of method="reversible": c, above 0 and at most 1; None: 0.999.
        damping: of method="alf": eta, above 0 and at most 1; None: 1, undamped.
        newton_tol: of implicit methods: how exactly the equations of a step and of its adjoint are
            solved: relative to |y| + atol / rtol, or absolute where rtol is 0; None: 0.01 rtol (or
            atol). The exact gradients are exact to this tolerance.
        max_newton: of implicit methods: iterations after which a stage is given up; an adaptive
            step is then tried with half the length, a fixed one fails. None: 20.
        linear_solver: of implicit methods: "dense": one LU factorisation of the whole system;
            "batched": one for each row of the batch (the first dimension), none of which may act
            on another; "gmres": no Jacobian is formed; None or "auto": "batched" where a look at
            the field's Jacobian shows rows that do not act on each other (a look that is wrong
            costs iterations, no accuracy), else "dense", each up to 512 unknowns, else "gmres".
        gmres_restart: of implicit methods: products after which GMRES begins anew, each of which
            it keeps a vector of; None: 40.
        compile: whether solves that are differentiated run compiled, as `symadj.ode.compiled` says;
            for gradient="symplectic" and a field that is a module.
        check_field: whether a backward pass makes sure that func is still what it was in the solve,
            and that all tensors behind it that need a gradient are known.
        norm: the user's own norm of an error, called with the structure of y0, returning a scalar
            tensor; None: the root mean square, for a tuple the largest of the parts' ones.
        interp: how outputs inside a step are found: "linear" or "cubic" (Hermite), or None, by the
            method's own continuous extension.
        entrywise: rtol and atol entry by entry, as tensors that broadcast with the engine's; None:
            the two numbers hold for all entries. The parameters' integral of the adjoint method
            and error messages go by the two numbers anyway.
        perturb: of fixed steps: the field is evaluated just after the start of every step and just
            before its end, as if it jumped at all of them.
        batch: "joint": the state is stepped as one. "independent": y0 is [B, ...], and each of its
            B samples has its own steps (see docs/batches.md).
        sync: whether all processes of torch.distributed's default group, each with its part of a
            batch, take the same adaptive steps: those that one process would take with the whole
            batch. All of them must solve at the same time then. Without a group it has no effect.

    Raises:
        InputError: a value out of its range, or several ways to fix the steps at once.
        IncompatibleError: fixed steps are needed and none of the three is given; or `sync` with a
            norm of the user's own, or with an implicit method.
    """

    method: str = "dopri5"
    rtol: float = 1e-5
    atol: float = 1e-5
    step_size: float | None = None
    num_steps: int | None = None
    grid: Sequence[float] | None = None
    max_steps: int = 100_000
    first_step: float | None = None
    max_step: float | None = None
    min_step: float = 0.0
    step_t: Sequence[float] = ()
    jump_t: Sequence[float] = ()
    safety: float = 0.9
    min_factor: float = 0.2
    max_factor: float = 10.0
    pi_beta: float = 0.0
    base: str | None = None
    coupling: float | None = None
    damping: float | None = None
    newton_tol: float | None = None
    max_newton: int | None = None
    linear_solver: str | None = None
    gmres_restart: int | None = None
    compile: bool = False
    check_field: bool = True
    norm: Callable[[Any], Tensor] | None = None
    interp: str | None = None
    entrywise: tuple[Tensor, Tensor] | None = None
    perturb: bool = False
    batch: str = "joint"
    sync: bool = False

    def __post_init__(self) -> None:
        if self.method in ALIASES:
            object.__setattr__(self, "method", ALIASES[self.method])
        if self.method not in SOLVERS:
            raise InputError(f"unknown method={self.method!r}.{suggest(self.method, SOLVERS)}")
        times = {name: getattr(self, name) for name in ("grid", "step_t", "jump_t")}
        plain = {name: [float(t) for t in ts] for name, ts in times.items() if ts is not None}
        check_settings("solver", vars(self) | plain, shown="")
        if self.rtol == 0 and self.atol == 0 and self.adaptive:
            raise InputError("rtol and atol are both 0; one of them must be positive.")
        for name in ("compile", "check_field", "sync"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name}={getattr(self, name)!r}; it must be true or false.")
        if self.interp not in (None, *INTERPOLATIONS):
            raise InputError(
                f"unknown interp={self.interp!r}.{suggest(self.interp, INTERPOLATIONS)}"
            )
        if self.batch not in BATCHES:
            raise InputError(f"unknown batch={self.batch!r}.{suggest(self.batch, BATCHES)}")
        if self.sync and self.norm is not None:
            raise IncompatibleError(
                "sync=true with a norm of your own, which only you can take over all processes. "
                "Leave one of them out."
            )
        if self.sync and self.method in IMPLICIT:
            raise IncompatibleError(
                f"sync=true with method={self.method}: how often the equations of a step are "
                "iterated is for every process to see. Leave sync out, or take dopri5."
            )
        self._check_method()
        self._check_stepping()

    def _check_method(self) -> None:
        """Refuses options of one method that are given to another."""
        for name, owners in OPTIONS_OF.items():
            if getattr(self, name) is not None and self.method not in owners:
                owner = owners[-1]
                raise IncompatibleError(
                    f"{name}={getattr(self, name)!r} is an option of method={' or '.join(owners)}, "
                    f"and the method is {self.method}; leave it out, or take {owner}."
                )
        if self.linear_solver not in (None, *LINEAR_SOLVERS):
            raise InputError(
                f"unknown linear_solver={self.linear_solver!r}."
                f"{suggest(self.linear_solver, LINEAR_SOLVERS)}"
            )
        if self.base is not None and self.base not in TABLEAUS:
            raise InputError(f"unknown base={self.base!r}.{suggest(self.base, TABLEAUS)}")

    def _check_stepping(self) -> None:
        if self.max_step is not None and self.min_step > self.max_step:
            raise InputError(f"min_step={self.min_step} is above max_step={self.max_step}.")
        if self.perturb and self.adaptive:
            raise IncompatibleError(
                "perturb=true goes with fixed steps; of adaptive ones, name in jump_t where func "
                "jumps."
            )
        given = [n for n in ("step_size", "num_steps", "grid") if getattr(self, n) is not None]
        if len(given) > 1:
            raise InputError(
                f"{'=... and '.join(given)}=... are both given; the steps are fixed by one of them."
            )
        if self.num_steps is not None and self.num_steps > self.max_steps:
            raise InputError(
                f"num_steps={self.num_steps} is more than max_steps={self.max_steps}; raise "
                "max_steps if that is meant."
            )
        # A time is a Python number in a list, which is kept while the steps are made.
        steps = self.num_steps or 0
        require_memory(64 * steps, f"num_steps={steps}: the list of times", "take fewer steps")
        if not given and self.solver.error_order is None:
            raise IncompatibleError(
                f"the solver {self.method!r} has no error estimate, so its steps must be fixed: "
                "give step_size (length of a step) or num_steps (number of steps over the whole "
                "interval), or take an adaptive solver: "
                f"{', '.join(n for n, s in SOLVERS.items() if s.error_order is not None)}."
            )

    @staticmethod
    def from_options(
        method: object, rtol: object, atol: object, options: Mapping[str, Any] | None
    ) -> SolverSettings:
        """The settings of a call `odeint(..., rtol, atol, method, options)`.

        Raises:
            InputError: an unknown option, with the nearest known one; or as the constructor.
        """
        if not isinstance(method, str):
            raise InputError(f"method is {method!r}; it must be one of {', '.join(SOLVERS)}.")
        allowed = {f.name for f in dataclasses.fields(SolverSettings)} - {"method", "rtol", "atol"}
        for name in options or {}:
            if name in _KNOWN_ELSEWHERE:
                raise InputError(f"unknown option {name!r}; here it is {_KNOWN_ELSEWHERE[name]!r}.")
            if name not in allowed:
                raise InputError(f"unknown option {name!r}.{suggest(name, allowed)}")
        return SolverSettings(
            method, _number("rtol", rtol), _number("atol", atol), **dict(options or {})
        )

    @property
    def adaptive(self) -> bool:
        """Whether the step size follows the error estimate."""
        return self.step_size is None and self.num_steps is None and self.grid is None

    @property
    def solver(self) -> StepMethod:
        """The stepping method itself."""
        return method_with(self.method, self.base, self.coupling, self.damping)

    @property
    def tolerances(self) -> tuple[float, float] | tuple[Tensor, Tensor]:
        """rtol and atol as the error of a state is measured by."""
        return self.entrywise or (self.rtol, self.atol)

    def fixed_grid(self, t0: float, t1: float) -> list[float]:
        """The times of the fixed steps from t0 to t1, `step_t` and `jump_t` among them.

        Raises:
            InputError: a grid that does not lead from t0 to t1, or more than `max_steps` steps.
        """
        if self.grid is not None:
            times = [float(t) for t in self.grid]
            self._check_grid(times, t0, t1)
        else:
            times = self._equal_steps(t0, t1)
        inside = self.stops(t0, t1)
        times = sorted({*times, *inside}, reverse=t1 < t0)
        if len(times) - 1 > self.max_steps:
            raise InputError(
                f"the fixed grid has {len(times) - 1} steps, more than max_steps={self.max_steps}; "
                "raise max_steps if that is meant."
            )
        return times

    def stops(self, t0: float, t1: float) -> list[float]:
        """Where a step must end between t0 and t1."""
        low, high = min(t0, t1), max(t0, t1)
        return [t for t in map(float, (*self.step_t, *self.jump_t)) if low < t < high]

    def _equal_steps(self, t0: float, t1: float) -> list[float]:
        span = t1 - t0
        if self.num_steps is not None:
            n = self.num_steps
            return [t0 + span * (i / n) for i in range(n)] + [t1]
        assert self.step_size is not None
        # A remainder below the rounding of times in single precision is no step of its own.
        rounding = 2**-22 * max(abs(t0), abs(t1)) / self.step_size
        n = max(1, math.ceil(abs(span) / self.step_size - min(rounding, 1e-3)))
        if n > self.max_steps:
            raise InputError(
                f"step_size={self.step_size} needs {n} steps from {t0} to {t1}, more than "
                f"max_steps={self.max_steps}."
            )
        h = math.copysign(self.step_size, span)
        return [t0 + i * h for i in range(n)] + [t1]

    def _check_grid(self, times: list[float], t0: float, t1: float) -> None:
        sign = 1 if t1 > t0 else -1
        rising = all(sign * (b - a) > 0 for a, b in itertools.pairwise(times))
        if len(times) < 2 or times[0] != t0 or times[-1] != t1 or not rising:
            raise InputError(
                f"grid=[...]; it must lead strictly monotonically from t[0]={t0} to "
                f"t[-1]={t1}; given are "
                f"{len(times)} times from {times[0] if times else None} to "
                f"{times[-1] if times else None}."
            )


def _number(name: str, value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name}={value!r}; it must be a number.") from None
