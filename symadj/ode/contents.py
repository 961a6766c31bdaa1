"""All that a module's value can depend on besides its arguments: its tensors, and plain values."""

from __future__ import annotations

import contextlib
import functools
import types
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from symadj.ode.situation import MOST_ITEMS, PLAIN, Situation, globals_of

# Whose parts a `Situation` visits by itself, and what counts as a whole.
_WALKED = (types.FunctionType, types.MethodType, functools.partial, list, tuple, dict)
_WHOLE = (type, types.ModuleType, types.BuiltinFunctionType)
# Whose classes and globals nobody changes.
_LIBRARIES = frozenset({"abc", "builtins", "symadj", "torch", "typing"})
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Contents(Situation):
    """A `Situation` that also has the values of what is no tensor, and can lend out the places.

    Args:
        func: a module.

    Attributes:
        tensors: all that the module holds, each once, in the order in which they are met.
        counters: (id of an object's `__dict__`, name) of numbers that the module changes whenever
            it is called, and that its value does not depend on.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self.tensors: list[Tensor] = []
        self._index: dict[int, int] = {}
        self._places: list[tuple[Any, Any, int]] = []
        self._stores: list[Any] = []
        self._notes: list[tuple[tuple[int, Any], Hashable]] = []
        self._numbers: dict[int, int] = {}
        self.counters: set[tuple[int, Any]] = set()
        super().__init__(func)

    @property
    def plain(self) -> Hashable:
        """Numbers, strings, flags, functions, kinds of parts: what tracing would bake in.

        Two modules with equal ones have their tensors in the same places.
        """
        return tuple(note for place, note in self._notes if place not in self.counters)

    @contextlib.contextmanager
    def standing_in(self, others: Sequence[Tensor]) -> Iterator[None]:
        """Within it, these lie where `tensors` do; at its end all is as it was.

        Raises:
            ChangedError: the block has changed what the module holds.
        """
        before = [_copy(store) for store in self._stores]
        try:
            for holder, key, number in self._places:
                _put(holder, key, others[number])
            lent = [_copy(store) for store in self._stores]
            yield
            if not all(map(self._same, self._stores, lent)):
                raise ChangedError
        finally:
            for holder, key, number in self._places:
                _put(holder, key, self.tensors[number])
            for store, old in zip(self._stores, before, strict=True):
                store.clear()
                store.extend(old) if isinstance(store, list) else store.update(old)

    def _visit(self, prefix: str, key: Any, holder: Any, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in PLAIN:
            self._note((prefix, key, kind, repr(value)), holder, key)
            return
        known = id(value) in self._numbers
        number = self._numbers.setdefault(id(value), len(self._numbers))
        self._note((prefix, key, kind, number, None if known else _note_of(value)), holder, key)
        if isinstance(value, Tensor):
            if not known:
                self._index[number] = len(self.tensors)
                self.tensors.append(value)
            self._places.append((holder, key, self._index[number]))
        elif isinstance(value, (list, dict)) and not known:
            self._stores.append(value)
        super()._visit(prefix, key, holder, value, depth)

    def _note(self, note: Hashable, holder: Any, key: Any) -> None:
        self._notes.append(((id(holder), key), note))

    def _same(self, store: Any, before: Any) -> bool:
        """Whether a list or a dictionary has the very things that it had, but for counters."""
        if len(store) != len(before):
            return False
        if isinstance(store, list):
            return all(a is b for a, b in zip(store, before, strict=True))
        return all(
            (key in store and store[key] is value) or (id(store), key) in self.counters
            for key, value in before.items()
        )

    def _visit_module(self, prefix: str, module: nn.Module, depth: int) -> None:
        attributes = vars(module)
        self._stores += [module._parameters, module._buffers, module._modules, attributes]
        for name in _HOOKS:
            for key, hook in attributes.get(name, {}).items():
                self._visit(f"{prefix}{name}", key, None, hook, depth + 1)
        super()._visit_module(prefix, module, depth)

    def _visit_parts(self, name: str, value: Any, depth: int) -> None:
        super()._visit_parts(name, value, depth)
        if depth and not isinstance(value, (*_WALKED, *_WHOLE)):
            self._visit_object(value, depth)

    def _visit_object(self, value: Any, depth: int) -> None:
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            self._stores.append(attributes)
        super()._visit_object(value, depth)


def numbers_in(func: Callable[..., Any]) -> dict[tuple[int, str], float]:
    """The numbers among a module's attributes and those of its parts, by `Contents.counters`."""
    modules = func.modules() if isinstance(func, nn.Module) else ()
    return {
        (id(vars(module)), name): value
        for module in modules
        for name, value in vars(module).items()
        if type(value) in (int, float)
    }


class ChangedError(Exception):
    """A module changes what it holds when it is called."""


def _note_of(value: Any) -> Hashable:
    """What of a value of no plain kind, that has not been met before, matters besides its parts."""
    if isinstance(value, Tensor):
        return _tensor_note(value)
    if isinstance(value, nn.Module):
        return value.training, _class_values(type(value))
    if isinstance(value, types.FunctionType):
        return value.__code__
    if isinstance(value, types.MethodType):
        return value.__func__.__code__ if hasattr(value.__func__, "__code__") else _Same(value)
    if isinstance(value, (list, tuple, dict)):
        return len(value) if len(value) <= MOST_ITEMS else _value(value)
    if hasattr(value, "tobytes"):
        return repr(getattr(value, "dtype", None)), value.tobytes()
    if isinstance(value, (set, frozenset, complex, bytes, range, slice)):
        return repr(value)
    return None if hasattr(value, "__dict__") and not isinstance(value, _WHOLE) else _Same(value)


def _tensor_note(tensor: Tensor) -> Hashable:
    """All but the sizes of what is no parameter: those may be another batch's."""
    sizes = tensor.shape if isinstance(tensor, nn.Parameter) else tensor.dim()
    strides = None if tensor.is_contiguous() else tensor.stride()
    return sizes, strides, tensor.dtype, tensor.device, tensor.requires_grad


def _class_values(kind: type) -> Hashable:
    """The present values of a class's attributes and of the globals that its methods use."""
    return tuple(_value(holder.get(name)) for holder, name in _class_places(kind))


@functools.lru_cache(maxsize=1024)
def _class_places(kind: type) -> tuple[tuple[Mapping[str, Any], str], ...]:
    places: list[tuple[Mapping[str, Any], str]] = []
    for one in kind.__mro__:
        if one.__module__.partition(".")[0] in _LIBRARIES:
            continue
        own = vars(one)
        places += [(own, name) for name in own if not name.startswith("__")]
        for function in filter(lambda f: isinstance(f, types.FunctionType), own.values()):
            names = sorted(globals_of(function.__code__))
            places += [(function.__globals__, name) for name in names]
    return tuple(places)


def _value(value: Any) -> Hashable:
    if type(value) in PLAIN:
        return type(value), repr(value)
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_value, value))
    if isinstance(value, dict):
        return type(value), tuple((key, _value(one)) for key, one in value.items())
    return _Same(value)


class _Same:
    """Equal to another one of the same object, which it keeps alive."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def _copy(store: Any) -> Any:
    return list(store) if isinstance(store, list) else dict(store)


def _put(holder: Any, key: Any, tensor: Tensor) -> None:
    """Lays a tensor in a place, if that lets go of the old one."""
    if isinstance(holder, types.CellType):
        holder.cell_contents = tensor
    elif isinstance(holder, (list, dict)):
        holder[key] = tensor
