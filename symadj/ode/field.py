"""The vector field: the user's function, with what the engine needs to know about its use."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from symadj.errors import IncompatibleError, InputError
from symadj.ode.capture import leaves_behind, sequence_mark
from symadj.ode.gradients import ParameterGradients, own_method
from symadj.ode.layout import StateLayout
from symadj.ode.stats import SolveStats

if TYPE_CHECKING:
    from symadj.solvers import Attempt, RungeKutta

Evaluate = Callable[[float, Tensor], Tensor]


class Field:
    """dy/dt = func(t, y) on the engine's flat state.

    It evaluates the user's function, counts the evaluations, knows which tensors may receive a
    gradient, and lets the function use autograd inside itself whether or not a graph is kept.

    Args:
        func: the user's function or module, called as `func(t, y)` with t a scalar tensor of the
            state's dtype (its real type where that is complex) and y in the shape of y0.
        layout: the layout of y0.
        params: tensors that the caller named besides a module's own parameters.
    """

    def __init__(
        self, func: Callable[..., Any], layout: StateLayout, params: Sequence[Tensor] = ()
    ) -> None:
        if not callable(func):
            raise InputError(f"func is a {type(func).__name__}; it must be callable as func(t, y).")
        self.func = func
        self.layout = layout
        self.stats = SolveStats()
        self.backward_phase = False
        self.params = _trainable(func, params)
        self._autograd_inside = False
        self._own_pull_back = own_method(func, "pull_back", "forward")
        self._autocast = _autocast_of(layout.device)

    def no_gradients(self) -> ParameterGradients:
        """A running sum of the parameters' gradients, at its beginning."""
        return ParameterGradients(self.params)

    def value(self, t: float, y: Tensor) -> Tensor:
        """f(t, y) without a graph."""
        self.count(1)
        if not self._autograd_inside:
            try:
                with torch.no_grad():
                    k = self._call(t, y.detach())
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
                self._autograd_inside = True
            else:
                return k.detach() if k.requires_grad else k
        with torch.enable_grad():
            return self._call(t, y.detach()).detach()

    def count(self, evaluations: int) -> None:
        """So many evaluations without graph were made."""
        if self.backward_phase:
            self.stats.recomputed += evaluations
        else:
            self.stats.forward += evaluations

    def traced(self, t: float, y: Tensor) -> Tensor:
        """f(t, y) with its graph, for a later vector-Jacobian product."""
        self.stats.with_graph += 1
        if not self.backward_phase:
            self.stats.forward += 1
        with torch.enable_grad():
            return self._call(t, y)

    def value_and_vjp(
        self, t: float, y: Tensor, cotangent: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """f, (df/dy)^T w and (df/dtheta)^T w for the cotangent w: one evaluation, one product.

        Returns:
            The value, the state's cotangent and, in the order of `params`, the parameters' ones
            (None where the field does not depend on one).
        """
        self.stats.vjps += 1
        leaf = y.detach().requires_grad_()
        k = self.traced(t, leaf)
        of_y, *of_params = grad_or_none([k], [leaf, *self.params], [cotangent])
        return k.detach(), torch.zeros_like(y) if of_y is None else of_y, of_params

    def pull_back(
        self, t: float, y: Tensor, cotangent: Tensor, gradients: ParameterGradients
    ) -> Tensor:
        """(df/dy)^T w for the cotangent w; (df/dtheta)^T w joins `gradients`.

        A module with a method `pull_back(t, y, w, sums)`, and no other `forward` than the one that
        it belongs to, does so by itself (see `own_method`): it returns (df/dy)^T w in the form of y
        and adds to `sums(parameter)`; or None under a function transform, where autograd does.
        """
        if self._own_pull_back is not None and not self._autocast[2]:
            layout = self.layout
            with torch.no_grad():
                of_y = self._own_pull_back(
                    self._time(t), layout.unflatten(y), layout.unflatten(cotangent), gradients.of
                )
            if of_y is not None:
                self.stats.vjps += 1
                self.stats.with_graph += 1
                return layout.flatten(of_y)
        _, mu, of_params = self.value_and_vjp(t, y, cotangent)
        gradients.add(of_params)
        return mu

    def pull_step(
        self,
        solver: RungeKutta,
        attempt: Attempt,
        cotangent: Tensor,
        gradients: ParameterGradients,
    ) -> Tensor | None:
        """The symplectic adjoint of a whole step at once; None: stage by stage, by `pull_back`.

        Args:
            solver: that made the step.
            attempt: the step, with its stage derivatives.
            cotangent: of y1.
            gradients: which the parameters' gradients join.
        """
        return None

    def probe(self, t: float, y: Tensor, *, again: Sequence[float] = ()) -> Tensor:
        """f(t, y), and the discovery of every tensor that the field's gradient must reach.

        Leaf tensors that a function captures join `params`. A module that differentiates itself
        reaches its parameters and nothing else, so no graph is made to look behind.

        Args:
            t: where the value is wanted.
            y: the state.
            again: further times at which a plain function is looked at; a module's parameters are
                known beforehand.

        Raises:
            CapturedTensorError: the field captures a non-leaf tensor that needs a gradient.
        """
        if self._own_pull_back is not None and not self._autocast[2]:
            return self.value(t, y)
        value = self._look(t, y)
        if not isinstance(self.func, nn.Module):
            for time in again:
                self._look(time, y)
        return value

    def _look(self, t: float, y: Tensor) -> Tensor:
        """f(t, y); the leaves found behind it join `params`. The graph is gone on return."""
        self.stats.forward += 1
        leaf = y.detach().requires_grad_()
        mark = sequence_mark()
        with torch.enable_grad():
            k = self._call(t, leaf)
        found = leaves_behind(k, mark, inputs=[leaf], named=self.params)
        self.params = _distinct([*self.params, *found])
        if not k.requires_grad and (y.requires_grad or self.params):
            warnings.warn(
                "func's value does not depend differentiably on the state or on any parameter, so "
                "its gradient is zero; if func calls torch.autograd.grad, it needs "
                "create_graph=True.",
                stacklevel=2,
            )
        return k.detach()

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Within it, evaluations count as "forward" or "backward" ones, under one autocast state.

        The state is that of the field's making, so that a backward pass recomputes what the
        forward pass computed. Its weight cache is off: it would hand a cast made without graph, or
        in another solve, to an evaluation that needs one of its own.
        """
        kind, dtype, enabled = self._autocast
        self.backward_phase = name == "backward"
        try:
            with torch.autocast(kind, dtype=dtype, enabled=enabled, cache_enabled=False):
                yield
        finally:
            self.backward_phase = False

    def _time(self, t: float) -> Tensor:
        return torch.full((), t, dtype=self.layout.time_dtype, device=self.layout.device)

    def _call(self, t: float, y: Tensor) -> Tensor:
        layout = self.layout
        k = self.func(self._time(t), layout.unflatten(y))
        if layout.bare:
            return self._checked(k, layout.shapes[0])
        if not isinstance(k, (tuple, list)) or len(k) != len(layout.shapes):
            raise InputError(
                f"func returned {_describe(k)}; y0 is a tuple of {len(layout.shapes)} tensors of "
                f"shapes {[tuple(s) for s in layout.shapes]}, so func must return such a tuple."
            )
        return torch.cat(
            [self._checked(part, s).reshape(-1) for part, s in zip(k, layout.shapes, strict=True)]
        )

    def _checked(self, k: object, shape: torch.Size) -> Tensor:
        """The field's value if it can be a derivative of a part of `shape`."""
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
            if self._autocast[2] and k.is_floating_point():
                return k.to(layout.dtype)
            raise InputError(
                f"func returned dtype {k.dtype} where the state has {layout.dtype}; convert the "
                "model or y0 so that both agree (for instance model.to(y0.dtype))."
            )
        return k


def grad_or_none(
    outputs: Sequence[Tensor], inputs: Sequence[Tensor], cotangents: Sequence[Tensor]
) -> list[Tensor | None]:
    """torch.autograd.grad with None for every input that no output depends on."""
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    gradients = torch.autograd.grad(
        [o for o, _ in pairs], inputs, [c for _, c in pairs], allow_unused=True
    )
    return list(gradients)


def _distinct(tensors: Sequence[Tensor]) -> list[Tensor]:
    return list({id(tensor): tensor for tensor in tensors}.values())


def _trainable(func: Callable[..., Any], params: Sequence[Tensor]) -> list[Tensor]:
    """The module's parameters that need a gradient and the named tensors, each once."""
    own: list[Tensor] = []
    if isinstance(func, nn.Module):
        if any(isinstance(module, nn.DataParallel) for module in func.modules()):
            raise IncompatibleError(
                "func holds a torch.nn.DataParallel, whose replicas no gradient would reach. Use "
                "DistributedDataParallel around the whole model, one process a device."
            )
        if isinstance(func, nn.parallel.DistributedDataParallel):
            raise IncompatibleError(
                "func is a DistributedDataParallel module. Wrap the model that calls odeint, not "
                "the field inside it, so that its gradients are reduced once."
            )
        own = [p for p in func.parameters() if p.requires_grad]
    for tensor in params:
        if not isinstance(tensor, Tensor):
            raise InputError(f"params holds a {type(tensor).__name__}; it must hold tensors only.")
    return _distinct([*own, *(p for p in params if p.requires_grad)])


def _autocast_of(device: torch.device) -> tuple[str, torch.dtype, bool]:
    kind = device.type
    return kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)


def _describe(k: object) -> str:
    if isinstance(k, Tensor):
        return f"a tensor of shape {tuple(k.shape)}"
    if isinstance(k, (tuple, list)):
        return f"a {type(k).__name__} of {len(k)} entries"
    return f"a {type(k).__name__}"
