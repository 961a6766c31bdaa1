"""The running sum of parameter gradients, and fields that add to it by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

Sums = Callable[[Tensor], Tensor | None]
"""The running sum of a parameter's gradient, to be added to in place; None: it needs none."""


class ParameterGradients:
    """The running sum of parameter gradients; None for a parameter that was never reached.

    Args:
        params: whose gradients are summed.
        zeros: whether the gradient of one that was never reached is zero rather than None.
    """

    def __init__(self, params: Sequence[Tensor], *, zeros: bool = False) -> None:
        self.params = params
        self.zeros = zeros
        self.sums: list[Tensor | None] = [None] * len(params)
        self._places: dict[int, int] | None = None

    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Adds one pull-back's gradients, in place."""
        old: list[Tensor] = []
        new: list[Tensor] = []
        for i, gradient in enumerate(gradients):
            if gradient is None:
                continue
            total = self.sums[i]
            if total is None:
                # A copy: autograd may hand the same memory to two inputs, or an expanded scalar.
                self.sums[i] = gradient.clone(memory_format=torch.contiguous_format)
            else:
                old.append(total)
                new.append(gradient)
        if old:
            torch._foreach_add_(old, new)  # pyright: ignore[reportPrivateImportUsage]

    def results(self) -> list[Tensor | None]:
        """The sums, in the order of `params`."""
        if not self.zeros:
            return self.sums
        return [
            torch.zeros_like(p) if total is None else total
            for p, total in zip(self.params, self.sums, strict=True)
        ]

    def of(self, parameter: Tensor) -> Tensor | None:
        """The running sum of one parameter, zero at first, to be added to in place.

        None where the tensor is none of `params`.
        """
        if self._places is None:
            self._places = {id(p): i for i, p in enumerate(self.params)}
        i = self._places.get(id(parameter))
        if i is None:
            return None
        total = self.sums[i]
        if total is None:
            total = self.sums[i] = torch.zeros_like(
                parameter, memory_format=torch.contiguous_format
            )
        return total


def add_to(sums: Sums, parameter: Tensor, gradient: Tensor, factor: Tensor | None = None) -> None:
    """Adds a gradient, times a factor that broadcasts, to a running sum, where there is one."""
    total = sums(parameter)
    if total is None:
        return
    if factor is None:
        total.add_(gradient)
    else:
        total.addcmul_(gradient, factor)


def own_method(module: Any, name: str, of: str) -> Callable[..., Any] | None:
    """A module's method `name`, by which it differentiates its method `of` by hand, if that holds.

    It does not where a subclass has another `of`, or the instance has, and `name` knows nothing of
    it; where hooks or parametrizations stand between the parameters and the value; where the module
    holds tensors that need a gradient and are no parameters; or where its property
    `differentiates_itself` is False, because a part of it does not.
    """
    if not isinstance(module, nn.Module) or not getattr(module, "differentiates_itself", True):
        return None
    own = method_beside(module, name, of)
    return own if own is not None and _untouched(module) else None


def method_beside(module: nn.Module, name: str, of: str) -> Callable[..., Any] | None:
    """A module's method `name`, unless a subclass or the instance has a later `of` than that."""
    if of in vars(module):
        return None
    for kind in type(module).__mro__:
        if name in vars(kind):
            return getattr(module, name)
        if of in vars(kind):
            return None
    return None


def _untouched(module: nn.Module) -> bool:
    return not any(
        one._forward_hooks
        or one._forward_pre_hooks
        or one._backward_hooks
        or one._backward_pre_hooks
        or "parametrizations" in one._modules
        or any(isinstance(v, Tensor) and v.requires_grad for v in vars(one).values())
        or any(b.requires_grad for b in one._buffers.values() if b is not None)
        for one in module.modules()
    )
