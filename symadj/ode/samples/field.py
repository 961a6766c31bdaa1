"""The vector field of samples that are at different times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor

from symadj.errors import IncompatibleError, InputError
from symadj.ode.field import Field
from symadj.ode.layout import State, StateLayout
from symadj.ode.randomness import Generators
from symadj.ode.samples.instants import Instants, Samples
from symadj.ode.situation import Situation
from symadj.ode.stats import SolveStats
from symadj.ode.user_function import UserFunction


@dataclass(frozen=True)
class SampleLayout(StateLayout):
    """As `StateLayout`, of states [B, ...]; the parts of a tuple lie side by side in [B, n].

    `shapes` and `sizes` are those of one sample.

    Attributes:
        samples: what they have in common.
    """

    samples: Samples

    @staticmethod
    def of_samples(y0: State) -> SampleLayout:
        """The layout of a batch.

        Raises:
            InputError: as `StateLayout.of`, or parts without a common first dimension.
        """
        whole = StateLayout.of(y0)
        counts = {shape[0] if shape else None for shape in whole.shapes}
        [count, *others] = counts
        if others or not count:
            raise InputError(
                f"batch=independent with y0 of shape {[tuple(s) for s in whole.shapes]}; the first "
                "dimension, of every part, must be the samples of the batch, at least one."
            )
        dims = len(whole.shapes[0])
        samples = Samples(
            count, dims if whole.bare else 2, dims, whole.dtype.to_real(), whole.device
        )
        shapes = tuple(shape[1:] for shape in whole.shapes)
        return SampleLayout(shapes, whole.bare, whole.dtype, whole.device, samples)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """As `StateLayout.join`."""
        return parts[0] if self.bare else torch.cat([p.reshape(len(p), -1) for p in parts], 1)

    def rms(self, flat: Tensor) -> Tensor:
        """`StateLayout.rms` of every sample, [B]."""
        parts = [flat.flatten(1)] if flat.dim() > 1 else [flat.unsqueeze(1)]
        if not self.bare:
            parts = [part for part in parts[0].split(self.sizes, 1) if part.numel()]
        norms = [
            torch.linalg.vector_norm(p, dim=1) / max(p.shape[1], 1) ** 0.5
            for p in parts or [flat.new_zeros(len(flat), 1)]
        ]
        return norms[0] if len(norms) == 1 else torch.stack(norms).amax(0)


class SampleFunction(UserFunction):
    """func(t, y) for some samples of a batch.

    Attributes:
        idle: times and states, in parts, that stand for the samples which are not asked about,
            where func is to be given all of them; None: it is given those that are.
    """

    layout: SampleLayout

    def __init__(self, func: Callable[..., Any], layout: StateLayout, *, casts: bool) -> None:
        super().__init__(func, layout, casts=casts)
        self.idle: tuple[Instants, list[Tensor]] | None = None
        self._rows = 0

    def time(self, t: Any) -> Tensor:
        """[A, 1, ..., 1], as func is given it."""
        return t.given(self.layout.time_dtype)

    def values(
        self, t: Any, y: Tensor, parts: Sequence[Tensor], given: list[Tensor] | None = None
    ) -> list[Tensor]:
        """As `UserFunction.values`, for the samples that `t` names."""
        self._rows = len(t.rows)
        if self.idle is None or self._rows == self.layout.samples.count:
            return super().values(t, y, parts, given)
        elsewhere, states = self.idle
        self._rows = self.layout.samples.count
        parts = [
            at_rest.index_copy(0, t.index, part)
            for at_rest, part in zip(states, parts, strict=True)
        ]
        return [k[t.index] for k in super().values(elsewhere.moved(t), y, parts, given)]

    def checked(self, k: object, shape: torch.Size) -> Tensor:
        """As `UserFunction.checked`, of all samples that func was given."""
        return super().checked(k, torch.Size((self._rows, *shape)))


class SampleField(Field):
    """dy/dt = func(t, y) of samples [B, ...] at times of their own.

    Args:
        func: the user's function or module, called as `func(t, y)` with t [A, 1, ..., 1] of y's
            dimensions and y [A, ...] for those A of the B samples that are on their way.
        layout: of the batch.
        params: tensors that the caller named besides a module's own parameters.
    """

    function_type: ClassVar[type[UserFunction]] = SampleFunction
    layout: SampleLayout

    def __init__(
        self, func: Callable[..., Any], layout: SampleLayout, params: Sequence[Tensor] = ()
    ) -> None:
        super().__init__(func, layout, params)
        # Formulas by hand are those of one time for all.
        self._own_pull_back = None

    @property
    def takes_all(self) -> bool:
        """Whether func is given all samples at every evaluation, since it holds things of each."""
        return self._function.idle is not None

    @property
    def _function(self) -> SampleFunction:
        assert isinstance(self._call, SampleFunction)
        return self._call

    def examine(self, times: np.ndarray, y0: Tensor) -> None:
        """Looks at what func is for: a time for every sample, a part of them, each by itself.

        Three evaluations at most, which are not counted.

        Args:
            times: [B, 2], where every sample begins and ends.
            y0: the states at the start.

        Raises:
            InputError: func does not take a time for every sample.
            IncompatibleError: its value for one depends on others, or is random.
        """
        counted, self.stats = self.stats, SolveStats()
        generators = Generators(self.layout.device)
        before = generators.states()
        try:
            with Situation(self.func).statistics_kept():
                self._examine(times, y0.detach())
        finally:
            self.stats, moved = counted, generators.moved(before)
            generators.restore(before)
        if moved:
            raise IncompatibleError(
                "func draws random numbers, which batch=independent would draw at other times for "
                "every sample. Draw them before the solve, or take batch=joint."
            )

    def _examine(self, times: np.ndarray, y0: Tensor) -> None:
        samples = self.layout.samples
        # Not two at one time, so that a func which takes one of them for all is found.
        along = times[:, 0] + (times[:, 1] - times[:, 0]) * samples.every() / samples.count
        instants = samples.instants(samples.every(), along)
        try:
            together = self.value(instants, y0)
        except Exception as error:
            self._explain(error, float(times[0, 0]), y0)
        if samples.count == 1:
            return
        last = np.array([samples.count - 1])
        try:
            alone = self.value(instants[last], y0[-1:])
        except Exception:
            # It holds something of every sample, or takes no other number of them.
            parts = [part.contiguous() for part in self.layout.parts(y0)]
            start = samples.instants(samples.every(), times[:, 0])
            self._function.idle = start, parts
            alone = self.value(instants, y0[-1:].expand_as(y0).contiguous())[-1:]
        self._compare(together, alone)

    def _compare(self, together: Tensor, alone: Tensor) -> None:
        """Of the last sample: its value among the others and by itself."""
        slack = min(1024 * torch.finfo(alone.dtype).eps, 0.1)
        for whole, part in zip(self.layout.parts(together), self.layout.parts(alone), strict=True):
            if part.numel() and (whole[-1:] - part).abs().amax() > slack * whole.abs().amax():
                raise IncompatibleError(
                    "func's value for one sample depends on other samples of the batch, or on "
                    "their times, so that no sample can have steps of its own (batch "
                    "normalisation in training is such a func). Take batch=joint."
                )

    def _explain(self, error: Exception, t: float, y0: Tensor) -> NoReturn:
        """Raises what is wrong with a func that failed with a time for every sample."""
        state, layout = self.layout.unflatten(y0.clone()), self.layout
        scalar = torch.full((), t, dtype=layout.time_dtype, device=layout.device)
        try:
            with torch.enable_grad():
                k = self.func(scalar, state)
            fits = [part.shape for part in ((k,) if layout.bare else k)] == [
                part.shape for part in layout.parts(y0)
            ]
        except Exception:
            fits = False
        if not fits:
            raise error
        shape = (layout.samples.count, *[1] * (layout.samples.field_dims - 1))
        raise InputError(
            "batch=independent calls func(t, y) with a time for every sample, t of shape "
            f"{shape}, which this func does not take: {type(error).__name__}: {error} Write it so "
            "that t broadcasts against y (of a tuple: against its first tensor), or take "
            "batch=joint."
        ) from error
