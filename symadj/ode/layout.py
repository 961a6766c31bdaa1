"""How a state, a tensor or a tuple of tensors, lies in the one tensor that the engine steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch._utils import _unflatten_dense_tensors

from symadj.errors import InputError
from symadj.share import summed

State = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class StateLayout:
    """The shapes of a state's parts and whether it is a bare tensor.

    A bare tensor is stepped as it is. The parts of a tuple are laid one after the other in a
    one-dimensional tensor, so that one linear combination serves all of them.

    Attributes:
        sizes: the number of entries of each part.
        like: tensors of the shapes, which hold nothing.
        time_dtype: of the time that the field is given, the state's real type.
    """

    shapes: tuple[torch.Size, ...]
    bare: bool
    dtype: torch.dtype
    device: torch.device
    sizes: list[int] = field(init=False, repr=False, compare=False)
    like: list[Tensor] = field(init=False, repr=False, compare=False)
    time_dtype: torch.dtype = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", [math.prod(shape) for shape in self.shapes])
        object.__setattr__(self, "like", [torch.empty(()).expand(s) for s in self.shapes])
        object.__setattr__(self, "time_dtype", self.dtype.to_real())

    @staticmethod
    def of(y0: State) -> StateLayout:
        """The layout of `y0`.

        Raises:
            InputError: `y0` is no tensor or tuple of tensors, is empty, is not of a floating point
                or complex type, or mixes dtypes or devices.
        """
        parts = _parts_of(y0)
        first = parts[0]
        for part in parts:
            if not (part.is_floating_point() or part.is_complex()):
                raise InputError(
                    f"y0 has dtype {part.dtype}; a state must be floating point or complex "
                    "(torch.float32 or torch.float64). Convert it with y0.to(torch.float32)."
                )
            if part.dtype != first.dtype or part.device != first.device:
                raise InputError(
                    f"the parts of y0 differ: {first.dtype} on {first.device} and {part.dtype} on "
                    f"{part.device}. All parts need one dtype and one device."
                )
        shapes = tuple(part.shape for part in parts)
        return StateLayout(shapes, isinstance(y0, Tensor), first.dtype, first.device)

    def flatten(self, y: State) -> Tensor:
        """The state as the engine's tensor."""
        return y if isinstance(y, Tensor) else self.join(y)

    def unflatten(self, flat: Tensor) -> State:
        """The state as the user's field sees it; leading dimensions of `flat` are kept."""
        return flat if self.bare else self.parts(flat)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """The engine's tensor of a state's parts, of a bare one its only one as it is."""
        return parts[0] if self.bare else torch.cat([part.reshape(-1) for part in parts])

    def join_each(self, parts: Sequence[Tensor]) -> Tensor:
        """As `join`, of parts that have a leading dimension in common, which is kept."""
        return parts[0] if self.bare else torch.cat([p.flatten(1) for p in parts], 1)

    def parts(self, flat: Tensor) -> tuple[Tensor, ...]:
        """The parts of a state, of a bare one its only one: views, with leading dimensions kept."""
        if self.bare:
            return (flat,)
        if flat.dim() == 1 and type(flat) is Tensor:
            return tuple(_unflatten_dense_tensors(flat, self.like))
        lead = flat.shape[:-1]
        pieces = flat.split_with_sizes(self.sizes, -1)
        return tuple(p.view(lead + shape) for p, shape in zip(pieces, self.shapes, strict=True))

    def rms(self, flat: Tensor) -> Tensor:
        """The root mean square of the entries; for a tuple the largest of the parts' ones."""
        if self.bare or len(self.shapes) == 1:
            return _rms(flat)
        parts = [_rms(part) for part in flat.split(self.sizes) if part.numel()]
        return torch.stack(parts).amax() if parts else flat.new_zeros(())

    def rms_over_ranks(self, flat: Tensor) -> Tensor:
        """`rms` of the states of all ranks laid one behind the other, the same on every rank."""
        parts = [flat] if self.bare else flat.split(self.sizes)
        squares = torch.stack([torch.linalg.vector_norm(p).double().square() for p in parts])
        counts = squares.new_tensor([part.numel() for part in parts])
        squares, counts = summed(torch.stack([squares, counts])).unbind()
        return (squares / counts.clamp_min(1)).sqrt().amax().to(flat.dtype.to_real())


def _rms(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x) / max(x.numel(), 1) ** 0.5


def _parts_of(y0: object) -> Sequence[Tensor]:
    if isinstance(y0, Tensor):
        return (y0,)
    if not isinstance(y0, tuple) or not y0 or not all(isinstance(part, Tensor) for part in y0):
        raise InputError(
            f"y0 is a {type(y0).__name__}; it must be a tensor or a non-empty tuple of tensors."
        )
    return y0
