"""torchdiffeq's options as `SolverSettings`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError, suggest
from symadj.ode.layout import State, StateLayout
from symadj.ode.settings import SolverSettings
from symadj.torchdiffeq.methods import Method
from symadj.torchdiffeq.tolerances import tolerance_of
from symadj.warn import warn

Options = Mapping[str, Any]

# What they count as "no limit".
UNLIMITED = 2**31 - 1

ADAPTIVE = {
    *("norm", "min_step", "max_step", "first_step", "step_t", "jump_t", "grid_points", "eps"),
    *("safety", "ifactor", "dfactor", "max_num_steps", "dtype"),
}
FIXED = {"step_size", "grid_constructor", "interp", "perturb", "norm"}
# Of this package alone.
OWN = {"check_field"}


@dataclass(frozen=True)
class Asked:
    """What a solve was asked for, in torchdiffeq's terms.

    Attributes:
        func: the field, as the caller gave it.
        y0: the initial state.
        t: the output times, [K], K >= 2, in the direction of the solve.
        layout: of y0.
    """

    func: Callable[..., Any]
    y0: State
    t: Tensor
    layout: StateLayout

    def settings(
        self, method: Method, rtol: Any, atol: Any, options: Options, *, pairwise: bool = False
    ) -> SolverSettings:
        """The settings of one solve.

        Args:
            method: the method.
            rtol: relative tolerance, see `tolerance_of`.
            atol: absolute tolerance, likewise.
            options: by torchdiffeq's names; one that the method does not have is warned of.
            pairwise: whether the solve is begun anew at every output time, which is what a
                grid_constructor is then told.

        Raises:
            InputError: a value that cannot be used.
        """
        known = OWN | (ADAPTIVE if method.adaptive else FIXED)
        unknown = sorted(set(options) - known)
        if unknown:
            warn(
                f"method {method.name!r} has no option {unknown[0]!r}, which is ignored."
                f"{suggest(unknown[0], known)}"
            )
        given = {name: value for name, value in options.items() if name in known}
        least_rtol, rtols = tolerance_of("rtol", rtol, self.layout)
        least_atol, atols = tolerance_of("atol", atol, self.layout)
        entrywise = None
        if rtols is not None or atols is not None:
            entrywise = (_all(rtols, least_rtol, atols), _all(atols, least_atol, rtols))
        how = self._adaptive(given) if method.adaptive else self._fixed(given, pairwise)
        return SolverSettings(
            method.solver,
            least_rtol,
            least_atol,
            entrywise=entrywise,
            norm=given.get("norm"),
            check_field=given.get("check_field", True),
            **how,
        )

    def _adaptive(self, given: Options) -> dict[str, Any]:
        dtype = given.get("dtype", torch.float64)
        if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise InputError(f"dtype={dtype!r}; it must be a floating point type of time.")
        longest = _float(given, "max_step", math.inf)
        jumps, stops = _times(given, "jump_t"), _times(given, "step_t")
        # The older names: points to land on, and whether the field is wanted on both their sides.
        points = _times(given, "grid_points")
        if _float(given, "eps", 0.0) > 0:
            jumps += points
        else:
            stops += points
        if len({*jumps, *stops}) < len(jumps) + len(stops):
            raise InputError("step_t, jump_t and grid_points name a time twice; name each once.")
        first = given.get("first_step")
        return {
            "first_step": None if first is None else float(first),
            "max_step": None if longest == math.inf else longest,
            "min_step": _float(given, "min_step", 0.0),
            "step_t": stops,
            "jump_t": jumps,
            "safety": _float(given, "safety", 0.9),
            "max_factor": _float(given, "ifactor", 10.0),
            "min_factor": _float(given, "dfactor", 0.2),
            # Counted between two outputs there.
            "max_steps": int(given.get("max_num_steps", UNLIMITED)) * (len(self.t) - 1),
        }

    def _fixed(self, given: Options, pairwise: bool) -> dict[str, Any]:
        size, constructor = given.get("step_size"), given.get("grid_constructor")
        if size is not None and constructor is not None:
            raise InputError("step_size and grid_constructor are both given; give one of them.")
        how: dict[str, Any] = {
            "interp": given.get("interp", "linear"),
            "perturb": bool(given.get("perturb", False)),
            "max_steps": UNLIMITED,
        }
        if size is not None:
            return {**how, "step_size": float(size)}
        t = self.t.detach()
        if constructor is None:
            return {**how, "grid": _floats(t)}
        ways = [t[i : i + 2] for i in range(len(t) - 1)] if pairwise else [t]
        grid = [_floats(constructor(self.func, self.y0, way)) for way in ways]
        return {**how, "grid": [*grid[0], *(x for part in grid[1:] for x in part[1:])]}


def _all(mine: Tensor | None, least: float, other: Tensor | None) -> Tensor:
    if mine is not None:
        return mine
    assert other is not None
    return other.new_tensor(least)


def _float(given: Options, name: str, default: float) -> float:
    value = given.get(name, default)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}={value!r}; it must be a number.") from None


def _times(given: Options, name: str) -> list[float]:
    value = given.get(name)
    if isinstance(value, Tensor):
        return _floats(value.reshape(-1))
    return [] if value is None else [float(t) for t in value]


def _floats(times: Tensor) -> list[float]:
    return times.detach().to(torch.float64).tolist()
