"""Finds the tensors that a field reaches besides its arguments, by walking its graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node, get_gradient_edge

from symadj.errors import CapturedTensorError, IncompatibleError


def sequence_mark() -> int:
    """A number below that of every graph node made from now on in this thread."""
    with torch.enable_grad():
        return _sequence_nr(torch.zeros((), requires_grad=True).view(1).grad_fn)


def leaves_behind(
    output: Tensor, mark: int, *, inputs: Sequence[Tensor], named: Sequence[Tensor]
) -> list[Tensor]:
    """The leaf tensors that `output` depends on, other than `inputs`.

    Args:
        output: the field's value, with its graph.
        mark: `sequence_mark()` from before the field was called; an older node belongs to a tensor
            that was computed outside the field.
        inputs: the field's own arguments.
        named: tensors that the caller has declared; the walk ends there.

    Raises:
        CapturedTensorError: the graph leaves the field through a tensor that is neither a leaf nor
            named, or a named tensor was computed from a leaf that the field also uses.
        IncompatibleError: the field uses reentrant checkpointing.
    """
    if not output.requires_grad:
        return []
    inner = [tensor.grad_fn for tensor in named if tensor.grad_fn is not None]
    own = {id(tensor) for tensor in inputs}
    leaves: dict[int, Tensor] = {}
    for node, slot in _walk(get_gradient_edge(output).node, stops=inner):
        leaf = getattr(node, "variable", None)
        if leaf is not None:
            if id(leaf) not in own:
                leaves[id(leaf)] = leaf
        elif node.name() == "CheckpointFunctionBackward":
            raise IncompatibleError(
                "func uses torch.utils.checkpoint with use_reentrant=True, through which only "
                'gradient="backprop" can differentiate. Give it use_reentrant=False.'
            )
        elif _sequence_nr(node) <= mark:
            refuse_outer(node, slot)
    _refuse_shared_history(inner, leaves)
    return list(leaves.values())


def _walk(root: Node, stops: Sequence[Node]) -> Iterator[tuple[Node, int]]:
    """Every node behind `root` with the output slot it was reached by; `stops` are not entered."""
    closed = set(stops)
    seen: set[Node] = set()
    stack: list[tuple[Node, int]] = [(root, 0)]
    while stack:
        node, slot = stack.pop()
        if node in seen or node in closed:
            continue
        seen.add(node)
        yield node, slot
        stack.extend((n, i) for n, i in node.next_functions if n is not None)


def _sequence_nr(node: Node | None) -> int:
    assert node is not None
    return node._sequence_nr()  # type: ignore[attr-defined]


def refuse_outer(node: Node, slot: int) -> None:
    """Refuses a tensor computed outside the field, the output `slot` of `node`.

    Raises:
        CapturedTensorError: always.
    """
    metadata = getattr(node, "_input_metadata", ())
    shape = tuple(metadata[slot].shape) if slot < len(metadata) else "unknown"
    raise CapturedTensorError(
        f"func captures a tensor of shape {shape} that needs a gradient and was computed outside "
        f"func (by {node.name()}), where this gradient method cannot follow. Name it: "
        'odeint(..., params=(tensor,)), compute it inside func, or use gradient="backprop". A '
        "buffer that func writes its value to is such a tensor too: return a new one."
    )


def _refuse_shared_history(inner: Sequence[Node], leaves: dict[int, Tensor]) -> None:
    """A leaf both used by the field and behind a named tensor would be counted twice."""
    for root in inner:
        for node, _ in _walk(root, stops=()):
            leaf = getattr(node, "variable", None)
            if leaf is not None and id(leaf) in leaves:
                raise CapturedTensorError(
                    f"func uses a leaf tensor of shape {tuple(leaf.shape)} and also a tensor in "
                    "params that was computed from it, so its gradient would be counted twice. "
                    'Compute that tensor inside func, or use gradient="backprop".'
                )
