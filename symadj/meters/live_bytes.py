"""Counts the live tensor storages on the CPU while a block runs."""

from __future__ import annotations

import enum
import functools
import math
import sys
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import graph
from torch.utils._python_dispatch import TorchDispatchMode

from symadj.errors import MemoryBudgetExceeded
from symadj.units import format_bytes

_NOTHING: frozenset[int] = frozenset()
# The last Python frame before the engine's own work.
_ENGINE = graph._engine_run_backward.__code__


class StorageCounter(TorchDispatchMode):
    """The sum of the bytes of all live CPU storages that operators made while it was entered.

    A storage counts from the operator that returns it until its last owner (Python or C++, such as
    a tensor saved for the backward pass) lets it go, which is also noticed after the counter was
    left. Views, aliases and in-place writes own no storage and count nothing; a storage that an
    operator enlarges counts its growth. A storage from before counts nothing, whether it lives on
    or is freed. The autograd engine runs the backward pass with the counter of its caller.

    Not seen: what a kernel allocates and frees within one operator (nothing in dense layers; a
    quarter of the peak has been seen with 2-D convolutions), what compiled code does, and memory
    that no operator made (`torch.from_numpy`, `torch.UntypedStorage(n)`, `storage.resize_`).

    Args:
        budget: the most that may be live, in bytes; None: no bound. The operator whose output goes
            beyond it raises, so that the machine never holds more than that one beyond it.

    Attributes:
        live: bytes that are live now.
        peak: the largest value of `live` so far.
    """

    # Operators such as torch.cond come through as one operator instead of being refused.
    supports_higher_order_operators = True

    def __init__(self, budget: int | None = None) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._budget = math.inf if budget is None else budget
        self._known: dict[int, _Tracked] = {}
        self._added = _NOTHING
        self._peak_before_sum = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Else torch imports its compiler, which takes seconds, to keep it off __torch_dispatch__.
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Runs the operator and counts what it made.

        Raises:
            MemoryBudgetExceeded: more is live now than the budget allows.
        """
        if types and not all(map(_undivided, types)):
            # A subclass unpacks itself first; its inner operators come here one by one.
            return NotImplemented
        kwargs = kwargs or {}
        if self._added:
            # No old cotangent was freed, so the last sum was one in a buffer of its own.
            self._added = _NOTHING
            self._check(self.peak, func)
        kind = _kind(func)
        if kind is _Kind.ALIAS:
            return func(*args, **kwargs)
        if kind is _Kind.ADD and sys._getframe(1).f_code is _ENGINE:
            return self._sum_of_cotangents(func, args, kwargs)
        if kind is _Kind.COMPOSITE:
            with self:
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        if kind is _Kind.RESIZES:
            out = self._resizing(func, args, kwargs)
        else:
            out = func(*args, **kwargs)
            inputs = () if kind is _Kind.FRESH else (args, kwargs)
            for tensor in (out,) if isinstance(out, Tensor) else _tensors(out):
                self._see(tensor, inputs)
        self._check(self.live, func)
        return out

    def _check(self, live: int, func: Any) -> None:
        if live > self._budget:
            raise over_budget(live, int(self._budget), f"at {func}")

    def _see(self, tensor: Tensor, inputs: tuple[Any, ...]) -> None:
        """Counts the storage of an operator's output, unless it is one of its inputs' or known."""
        if not _counts(tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        nbytes = storage.nbytes()
        # Few operators return an input that their schema does not name; _unsafe_view is one.
        if nbytes and not _among(key, inputs):
            self._grow(storage, nbytes)

    def _sum_of_cotangents(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Adds as the engine asks, and does not count what the engine spends only when watched.

        Where cotangents meet, the engine adds into the buffer of one that nobody else holds, but
        under a dispatch mode always into a new one. That the engine frees an old one before its
        next operator tells that nobody else held it: the peak is then set back.
        """
        peak = self.peak
        out = func(*args, **kwargs)
        self._see(out, (args, kwargs))
        if self.peak > peak and not torch.is_grad_enabled():
            # A view's base holds its storage too, so the engine never adds into a view.
            own = [t.untyped_storage()._cdata for t in args[:2] if not t._is_view()]
            self._added = _NOTHING if own[:1] == own[1:] else frozenset(own)
            self._peak_before_sum = peak
        return out

    def _resizing(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        storages = [t.untyped_storage() for t in _tensors((args, kwargs)) if _counts(t)]
        sizes = [storage.nbytes() for storage in storages]
        out = func(*args, **kwargs)
        for storage, before in zip(storages, sizes, strict=True):
            after = storage.nbytes()
            if after > before:
                # The old bytes were copied into the new ones: for a moment both were live.
                self.peak = max(self.peak, self.live + after)
                self._grow(storage, after - before)
        return out

    def _grow(self, storage: torch.UntypedStorage, nbytes: int) -> None:
        key = storage._cdata
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Tracked(storage, self._freed)
            known.key, known.nbytes = key, nbytes
        else:
            known.nbytes += nbytes
        self.live += nbytes
        if self.live > self.peak:
            self.peak = self.live

    def _freed(self, tracked: weakref.ref[torch.UntypedStorage]) -> None:
        assert isinstance(tracked, _Tracked)
        del self._known[tracked.key]
        self.live -= tracked.nbytes
        if tracked.key in self._added and sys._getframe(1).f_code is _ENGINE:
            self._added, self.peak = _NOTHING, self._peak_before_sum


def over_budget(live: int, budget: int, where: str) -> MemoryBudgetExceeded:
    """The error of a block that needed more memory than it was allowed."""
    return MemoryBudgetExceeded(
        f"{format_bytes(live)} ({live} bytes) more than before the step are live {where}; the "
        f"budget is {format_bytes(budget)} ({budget} bytes). Take a smaller batch, a gradient "
        "method that keeps less, or a larger measure.memory_budget."
    )


class _Tracked(weakref.ref[torch.UntypedStorage]):
    """A weak reference to a storage that knows the storage's address and what it counts for."""

    __slots__ = ("key", "nbytes")
    key: int
    nbytes: int


class _Kind(enum.Enum):
    """What the outputs of an operator may be."""

    PLAIN = enum.auto()  # new storages, or by exception an input's
    ADD = enum.auto()  # a new storage, by the operator with which the engine sums cotangents
    ALIAS = enum.auto()  # inputs' storages only
    FRESH = enum.auto()  # an alias of a storage that no operator made and nobody else has
    RESIZES = enum.auto()  # inputs' storages, perhaps enlarged
    COMPOSITE = enum.auto()  # other operators', which are looked at instead


@functools.cache
def _undivided(tensor_type: type) -> bool:
    """Whether tensors of this type have no dispatch of their own, as plain tensors have none."""
    return tensor_type.__torch_dispatch__ is Tensor.__torch_dispatch__  # pyright: ignore


@functools.cache
def _kind(func: Any) -> _Kind:
    schema = getattr(func, "_schema", None)
    if schema is None:
        return _Kind.PLAIN
    if func is torch.ops.aten.add.Tensor:
        return _Kind.ADD
    if schema.name == "aten::lift_fresh":  # the end of torch.tensor(data)
        return _Kind.FRESH
    if schema.name == "aten::_efficientzerotensor":  # zeros that own no memory
        return _Kind.ALIAS
    # In inference mode these come undivided, so that even a schema that promises a view may copy.
    # One that has a kernel of its own for the CPU (silu_backward) is run by that.
    has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
    composite = has_kernel(func.name(), "CompositeImplicitAutograd")
    if composite and not has_kernel(func.name(), "CPU"):
        return _Kind.COMPOSITE
    resizes = schema.name in ("aten::resize_", "aten::resize_as_")
    if resizes or any(argument.is_out for argument in schema.arguments):
        return _Kind.RESIZES
    if all(value.alias_info is not None for value in schema.returns):
        return _Kind.ALIAS
    return _Kind.PLAIN


def _tensors(values: Any) -> Iterator[Tensor]:
    """All tensors in nested lists, tuples and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _counts(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.layout is torch.strided


def _among(key: int, values: Iterable[Any]) -> bool:
    """Whether a tensor in nested lists, tuples and dicts has the storage at this address."""
    for value in values:
        if isinstance(value, Tensor):
            if value.layout is torch.strided and value.untyped_storage()._cdata == key:
                return True
        elif isinstance(value, (list, tuple)):
            if value and _among(key, value):
                return True
        elif isinstance(value, dict) and value and _among(key, value.values()):
            return True
    return False
