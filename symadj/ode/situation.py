"""What a field holds when it is solved with, tensors and modules, and whether that has changed."""

from __future__ import annotations

import contextlib
import dis
import functools
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

_INTERNAL = frozenset(vars(nn.Module()))
PLAIN = frozenset({type(None), bool, int, float, str, torch.Size, torch.dtype, torch.device})
MOST_ITEMS = 64
_DEEPEST = 6


class Situation:
    """The tensors and modules that a field's function reaches, as they were at one moment.

    Reached are a module's parameters, buffers and tensor attributes, and those of its parts; for a
    plain function what it captures, the globals that it names and its default arguments; for a
    bound method or another callable the attributes of its object; and the items of short lists,
    tuples and dictionaries among these.

    Args:
        func: the user's function or module.

    Attributes:
        norms: batch normalisations that keep running statistics.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.norms: list[_NormBase] = []
        self._held: list[_Held] = []
        self._seen: set[int] = set()
        self._visit("", "func", None, func, 0)
        self._seen.clear()

    def settle(self) -> None:
        """Forgets what has changed since: the field itself changes it, and is free to."""
        self._held = [held for held in self._held if _change(held) is None]

    def change(self) -> str | None:
        """What has changed since the moment of making, in words; None: nothing."""
        for held in self._held:
            change = _change(held)
            if change is not None:
                return f"{held.prefix}{held.key} {change}"
        return None

    @contextlib.contextmanager
    def statistics_kept(self) -> Iterator[None]:
        """Within it, running statistics are updated in vain: they are put back at its end."""
        buffers = [b for norm in self.norms if norm.training for b in norm.buffers(recurse=False)]
        before = [buffer.clone() for buffer in buffers]
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, old in zip(buffers, before, strict=True):
                    buffer.copy_(old)

    def _visit(self, prefix: str, key: Any, holder: Any, value: Any, depth: int) -> None:
        """Notes what lies in `holder` at `key`, and what that holds itself.

        Args:
            prefix: with the key, its name in messages.
            key: in the holder.
            holder: a mapping, a sequence or the cell of a closure; None: nothing that could let go.
            value: what lies there.
            depth: of containers and objects that it lies in.
        """
        kind = type(value)
        if kind in PLAIN:
            return
        if isinstance(value, Tensor):
            self._held.append(_Held(prefix, key, holder, weakref.ref(value), _mark(value)))
        elif isinstance(value, nn.Module):
            self._held.append(_Held(prefix, key, holder, weakref.ref(value), value.training))
            if self._new(value):
                self._visit_module("" if holder is None else f"{prefix}{key}.", value, depth)
        elif depth < _DEEPEST and self._new(value):
            self._visit_parts(f"{prefix}{key}", value, depth)

    def _new(self, value: object) -> bool:
        if id(value) in self._seen:
            return False
        self._seen.add(id(value))
        return True

    def _visit_module(self, prefix: str, module: nn.Module, depth: int) -> None:
        if isinstance(module, _NormBase) and module.track_running_stats:
            self.norms.append(module)
        for parts in (module._parameters, module._buffers, module._modules):
            for key, value in parts.items():
                self._visit(prefix, key, parts, value, depth)
        attributes = vars(module)
        for key in [key for key in attributes if key not in _INTERNAL]:
            self._visit(prefix, key, attributes, attributes[key], depth + 1)

    def _visit_parts(self, name: str, value: Any, depth: int) -> None:
        if isinstance(value, types.FunctionType):
            self._visit_function(value, depth)
        elif isinstance(value, types.MethodType):
            self._visit_object(value.__self__, depth)
        elif isinstance(value, functools.partial):
            for part in (value.func, value.args, value.keywords):
                self._visit("", name, None, part, depth + 1)
        elif isinstance(value, (list, tuple, dict)):
            if len(value) <= MOST_ITEMS:
                items = value.items() if isinstance(value, dict) else enumerate(value)
                for key, item in items:
                    self._visit(f"{name} at ", key, value, item, depth + 1)
        elif depth == 0:
            self._visit_object(value, depth)

    def _visit_function(self, function: types.FunctionType, depth: int) -> None:
        if str(function.__module__).startswith("torch."):
            return
        code = function.__code__
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            self._visit("", name, cell, _content(cell, name), depth + 1)
        for name in globals_of(code):
            value = function.__globals__.get(name)
            if not isinstance(value, (types.ModuleType, type)):
                self._visit("", name, function.__globals__, value, depth + 1)
        self._visit("", "a default argument", None, function.__defaults__, depth + 1)

    def _visit_object(self, value: Any, depth: int) -> None:
        if isinstance(value, nn.Module):
            self._visit("", "func", None, value, depth)
            return
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            for key, item in attributes.items():
                self._visit("", key, attributes, item, depth + 1)


@functools.lru_cache(maxsize=1024)
def globals_of(code: types.CodeType) -> frozenset[str]:
    """The global names that a function uses (`co_names` has those of attributes as well)."""
    names = {i.argval for i in dis.get_instructions(code) if i.opname == "LOAD_GLOBAL"}
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return frozenset(names.union(*map(globals_of, inner)))


class _Held(NamedTuple):
    """A tensor or a module, and where it lies.

    Attributes:
        prefix: with the key, its name in messages.
        key: in the holder.
        holder: a mapping, a sequence or the cell of a closure; None: nothing that could let go.
        value: the object.
        mark: of a tensor, see `_mark`; of a module, whether it was training.
    """

    prefix: str
    key: Any
    holder: Any
    value: weakref.ref[Any]
    mark: tuple[int, int] | bool


def _change(held: _Held) -> str | None:
    """What has happened to it since, in words."""
    _, key, holder, reference, mark = held
    value = reference()
    if value is None or (holder is not None and _content(holder, key) is not value):
        return "was replaced by another object"
    if isinstance(mark, bool):
        if value.training == mark:
            return None
        return "was switched to evaluation" if mark else "was switched to training"
    now = _mark(value)
    if now == mark:
        return None
    return "was modified by an inplace operation" if now[0] != mark[0] else "was given other data"


def _mark(tensor: Tensor) -> tuple[int, int]:
    """The count of the changes in place and the address of the data."""
    try:
        return tensor._version, tensor.data_ptr()
    except RuntimeError:  # a tensor without versions (made in inference mode) or without data
        return 0, 0


def _content(holder: Any, key: Any) -> Any:
    """What a mapping or a sequence has at this key, or what a cell holds; None: nothing."""
    try:
        return holder.cell_contents if isinstance(holder, types.CellType) else holder[key]
    except (LookupError, ValueError):
        return None
