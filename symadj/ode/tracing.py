"""A function of tensors, traced to one graph of plain operations and compiled by Inductor.

The user's Python, autograd inside it and the vector-Jacobian product around it are run once, on
tensors without data; what is left is a graph without autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import torch
from torch import Tensor

Dims = Sequence[bool]
"""Of one tensor: which of its sizes may be another one at another call."""


class Graph:
    """A function that is compiled for tensors like some examples.

    Args:
        function: of the tensors, traced with autograd on; returns a list of tensors.
        examples: the tensors.
        dims: of each of them.
        options: of Inductor.

    Attributes:
        sizes: of the examples.
        used: which of the tensors the function depends on.

    Raises:
        Exception: of any kind, where that is not possible.
    """

    def __init__(
        self,
        function: Callable[[Sequence[Tensor]], Sequence[Tensor]],
        examples: Sequence[Tensor],
        dims: Sequence[Dims],
        options: dict[str, Any],
    ) -> None:
        from torch._guards import TracingContext, tracing
        from torch._inductor.compile_fx import compile_fx
        from torch._subclasses import FakeTensorMode
        from torch.fx.experimental.proxy_tensor import make_fx
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        self._dims = dims
        self.sizes = [tuple(x.shape) for x in examples]
        self._shapes = ShapeEnv()
        mode = FakeTensorMode(shape_env=self._shapes)
        fakes = [_fake(mode, x, d) for x, d in zip(examples, dims, strict=True)]
        compiling = mock.patch.object(torch.compiler, "_is_compiling_flag", True)
        with compiling, mode, torch.enable_grad():
            graph = make_fx(lambda *tensors: function(tensors))(*fakes)
        _refuse_random(graph)
        places = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self.used = [i for i, node in enumerate(places) if node.users]
        for node in places:
            if not node.users:
                graph.graph.erase_node(node)
        graph.recompile()
        used: list[Any] = [fakes[i] for i in self.used]
        with torch.no_grad(), tracing(TracingContext(mode)):
            self._compiled: Any = compile_fx(graph, used, config_patches=options)
        self._guards = self._shapes.produce_guards_expression(used, ignore_static=False)

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Whether it may be called with tensors of these sizes."""
        for x, size, free in zip(tensors, self.sizes, self._dims, strict=True):
            if any(a != b and not d for a, b, d in zip(x.shape, size, free, strict=True)):
                return False
        # Without their offsets in memory, which matter to nobody.
        meta = [_on_meta(tensors[i]) for i in self.used]
        return not self._guards or self._shapes.evaluate_guards_expression(self._guards, meta)

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        return self._compiled(*[tensors[i] for i in self.used])


def _on_meta(x: Tensor) -> Tensor:
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="meta")


def _fake(mode: Any, x: Tensor, dims: Dims) -> Tensor:
    from torch.fx.experimental.symbolic_shapes import DimDynamic, StatelessSymbolicContext

    kinds = [DimDynamic.DUCK if free else DimDynamic.STATIC for free in dims]
    context = StatelessSymbolicContext(dynamic_sizes=kinds)
    return mode.from_tensor(x.detach(), symbolic_context=context)


def _refuse_random(graph: torch.fx.GraphModule) -> None:
    if any(_draws(node) for node in graph.graph.nodes):
        raise RuntimeError("it draws random numbers")


def _draws(node: torch.fx.Node) -> bool:
    """Whether it is an operation that draws; one with dropout does not where that has p = 0."""
    target: Any = node.target
    if torch.Tag.nondeterministic_seeded not in getattr(target, "tags", ()):
        return False
    names = [argument.name for argument in target._schema.arguments]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return "dropout_p" not in names or bool(given.get("dropout_p", 0))
