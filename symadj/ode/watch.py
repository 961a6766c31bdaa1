"""Looks at a backward pass: is the field that of the solve, are all tensors behind it known?"""

from __future__ import annotations

import contextlib
import itertools
import math
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from symadj.errors import CapturedTensorError, FieldChangedError
from symadj.ode.capture import refuse_outer, sequence_mark
from symadj.ode.layout import StateLayout

_WHAT_TO_DO = (
    'Call backward() before anything of it changes, or use gradient="backprop", which evaluates '
    'func once only; options={"check_field": False} takes the gradient as it is.'
)

_EVERY = 7
"""Of a function whose graphs were all looked at in an earlier backward pass, one in so many is: in
turn another stage of a step, for no method has seven stages or a multiple of them."""
_looked_at: weakref.WeakSet[Callable[..., Any]] = weakref.WeakSet()


class Watch:
    """Looks at the evaluations of one backward pass.

    The first stage of the first step is evaluated again in nearly every backward pass, and its
    value must be that of the solve, to the bit or to half of its digits. Of the graphs that are
    made, all leaves must be known: of every graph in the first backward pass through a function,
    later of one in seven.

    Args:
        func: the user's function.
        t0: when the solve evaluated the field first.
        expected: gives f(t0, y0) as the solve had it; None: it will be told by `expect`.
        layout: of the state.
        params: the tensors that receive a gradient.
    """

    def __init__(
        self,
        func: Callable[..., Any],
        t0: float,
        expected: Callable[[], Tensor] | None,
        layout: StateLayout,
        params: Sequence[Tensor],
    ) -> None:
        self.func = func
        self.t0 = t0
        self.layout = layout
        self.awaited = math.nan if expected is None else t0
        self._expected = expected
        self._leaves = {id(p) for p in params if p.is_leaf}
        # Nodes at which a walk may end; those of the leaves join when they are met.
        self._known: set[Node] = {p.grad_fn for p in params if p.grad_fn is not None}
        self._mark = sequence_mark()
        self._unknown: list[weakref.ref[Tensor]] = []
        self._graphs = itertools.cycle(range(_EVERY if _was_looked_at(func) else 1))

    def expect(self, k: Tensor) -> None:
        """A store has kept the first stage."""
        self.awaited, self._expected = self.t0, lambda: k

    def compare(self, k: Tensor) -> None:
        """The first stage's value, evaluated again.

        Raises:
            FieldChangedError: it is another one.
        """
        assert self._expected is not None
        before, self._expected, self.awaited = self._expected(), None, math.nan
        if torch.equal(before, k):
            return
        # With and without graph, compiled, or on a GPU, sums are rounded otherwise, and differences
        # of neighbours inside func make more of that: second ones on a grid of 200 points, 4e-11 of
        # the value in float64.
        slack = min(math.sqrt(torch.finfo(k.dtype).eps), 0.01)
        for a, b in zip(self.layout.parts(before), self.layout.parts(k), strict=True):
            if not a.numel():
                continue
            off = float((a - b).abs().amax() / torch.maximum(a.abs().amax(), b.abs().amax()))
            if off > slack:
                raise FieldChangedError(
                    f"func(t0, y0) in the backward pass differs by {100 * off:.2g} % from what it "
                    "was in the solve, so the gradient would be that of another field. Either "
                    "something that func uses has changed since then (weights, an attribute, "
                    "noise), or func is no function of t and y alone (it counts its calls, draws "
                    "numbers from another generator than torch's, has spectral_norm in "
                    "training). "
                    f"{_WHAT_TO_DO}"
                )

    def graph(self, outputs: Sequence[Tensor], leaves: Sequence[Tensor]) -> None:
        """Looks for leaves behind these outputs that are not known, and none of `leaves`.

        Raises:
            CapturedTensorError: a tensor that was computed outside func is behind them.
        """
        if next(self._graphs):
            return
        seen, mark = set(self._known), self._mark
        given = {id(leaf) for leaf in leaves}
        stack: list[Node] = []
        for output in outputs:
            if output.requires_grad:
                root = get_gradient_edge(output).node
                if root not in seen:
                    stack.append(root)
        while stack:
            node = stack.pop()
            behind = node.next_functions
            if not behind:
                variable = getattr(node, "variable", None)
                if variable is not None and id(variable) not in given:
                    if id(variable) in self._leaves:
                        self._known.add(node)
                    else:
                        self._unknown.append(weakref.ref(variable))
            for other, slot in behind:
                if other is None or other in seen:
                    continue
                if other._sequence_nr() <= mark:  # type: ignore[attr-defined]
                    refuse_outer(other, slot)
                seen.add(other)
                stack.append(other)

    def finish(self) -> None:
        """Refuses the leaves that outlive all graphs: func did not make them itself.

        Raises:
            CapturedTensorError: there is one.
        """
        for reference in self._unknown:
            leaf = reference()
            if leaf is not None:
                raise CapturedTensorError(
                    f"func uses a tensor of shape {tuple(leaf.shape)} that needs a gradient, but "
                    "not at the first or the last time, where such tensors are looked for, so "
                    "that its gradient would be missing. Name it: odeint(..., params=(tensor,)), "
                    'or use gradient="backprop".'
                )
        with contextlib.suppress(TypeError):
            _looked_at.add(self.func)


def _was_looked_at(func: Callable[..., Any]) -> bool:
    try:
        return func in _looked_at
    except TypeError:  # neither hashable nor open to weak references
        return False


def refuse_changed(change: str) -> None:
    """Refuses a backward pass because of this change.

    Raises:
        FieldChangedError: always.
    """
    raise FieldChangedError(
        f"{change} between the solve and its backward pass, which evaluates func again and would "
        f"follow another field. {_WHAT_TO_DO}"
    )
