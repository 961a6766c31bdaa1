"""The user's function, called so that what it does to its arguments and its value does no harm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from symadj.errors import InputError
from symadj.ode.layout import State, StateLayout

Func = Callable[..., Any]
"""The user's function or module, func(t, y) -> dy/dt."""


class UserFunction:
    """func(t, y) on the engine's flat state, its value checked.

    It is given copies of the state where its first call, always with a copy, changed that in place;
    and a value that lies in memory which was written to before is copied, for it may be a buffer
    that the next call writes to again.

    Args:
        func: the user's function or module.
        layout: the layout of the state.
        casts: whether another floating dtype of the value is converted (autocast).

    Attributes:
        spoils: whether the first call changed the state in place.
    """

    def __init__(self, func: Callable[..., Any], layout: StateLayout, *, casts: bool) -> None:
        self.func = func
        self.layout = layout
        self.casts = casts
        self.spoils = False
        self._called = False

    def time(self, t: float) -> Tensor:
        """t as func is given it."""
        return torch.full((), t, dtype=self.layout.time_dtype, device=self.layout.device)

    def __call__(self, t: float, y: Tensor, given: list[Tensor] | None = None) -> Tensor:
        """The value as a flat state.

        Args:
            t: the time.
            y: the state.
            given: receives the tensors that func is called with.

        Raises:
            InputError: as `values`.
        """
        return self.layout.join(self.values(t, y, self.layout.parts(y), given))

    def values(
        self, t: float, y: Tensor, parts: Sequence[Tensor], given: list[Tensor] | None = None
    ) -> list[Tensor]:
        """The value's parts, each in the shape of the state's.

        Args:
            t: the time.
            y: the state.
            parts: of it, views of y, which func is called with.
            given: receives the tensors that func is called with.

        Raises:
            InputError: the value is no derivative of a state, or y was changed in place after the
                first call had left it as it was.
        """
        now = self.time(t)
        if self.spoils or not self._called or y.is_inference():
            return self._checked_parts(self._with_copies(now, parts, given))
        version = y._version
        if given is not None:
            given += [now, *parts]
        k = self.func(now, self._state(parts))
        if y._version != version:
            raise InputError(
                f"func changed y in place at t={t:g}, which it had not done at its first call, so "
                "that a state of the solve is lost. Write y = y * 2 instead of y.mul_(2), or begin "
                "with y = y.clone()."
            )
        return self._checked_parts(k)

    def _with_copies(self, now: Tensor, parts: Sequence[Tensor], given: list[Tensor] | None) -> Any:
        """func's value for a copy of the state; the first call shows whether it needs one."""
        parts = [part.clone() for part in parts]
        if given is not None:
            given += [now, *parts]
        versions = [0 if part.is_inference() else part._version for part in parts]
        k = self.func(now, self._state(parts))
        if not self._called:
            self._called = True
            self.spoils = any(
                not part.is_inference() and part._version != version
                for part, version in zip(parts, versions, strict=True)
            )
        return k

    def _state(self, parts: Sequence[Tensor]) -> State:
        return parts[0] if self.layout.bare else tuple(parts)

    def _checked_parts(self, k: Any) -> list[Tensor]:
        layout = self.layout
        if layout.bare:
            k = self.checked(k, layout.shapes[0])
            return [k.clone() if k.is_inference() or k._version else k]
        if not isinstance(k, (tuple, list)) or len(k) != len(layout.shapes):
            raise InputError(
                f"func returned {_describe(k)}; y0 is a tuple of {len(layout.shapes)} tensors of "
                f"shapes {[tuple(s) for s in layout.shapes]}, so func must return such a tuple."
            )
        return [self.checked(part, s) for part, s in zip(k, layout.shapes, strict=True)]

    def checked(self, k: object, shape: torch.Size) -> Tensor:
        """The value if it can be a derivative of a part of this shape.

        Raises:
            InputError: it cannot.
        """
        layout = self.layout
        if not isinstance(k, Tensor) or k.shape != shape:
            raise InputError(
                f"func returned {_describe(k)} where the state has shape {tuple(shape)}; "
                "dy/dt must have the shape of y."
            )
        if k.device != layout.device:
            raise InputError(
                f"func returned a tensor on {k.device} where the state is on {layout.device}."
            )
        if k.dtype != layout.dtype:
            if self.casts and k.is_floating_point():
                return k.to(layout.dtype)
            raise InputError(
                f"func returned dtype {k.dtype} where the state has {layout.dtype}; convert the "
                "model or y0 so that both agree (for instance model.to(y0.dtype))."
            )
        return k


def _describe(k: object) -> str:
    if isinstance(k, Tensor):
        return f"a tensor of shape {tuple(k.shape)}"
    if isinstance(k, (tuple, list)):
        return f"a {type(k).__name__} of {len(k)} entries"
    return f"a {type(k).__name__}"
