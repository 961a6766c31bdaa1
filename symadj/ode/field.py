"""The vector field: the user's function, with what the engine needs to know about its use."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from symadj.errors import IncompatibleError, InputError
from symadj.ode.capture import leaves_behind, sequence_mark
from symadj.ode.gradients import ParameterGradients, own_method
from symadj.ode.layout import StateLayout
from symadj.ode.methods import Attempt, RungeKutta
from symadj.ode.randomness import Draws, Generators
from symadj.ode.situation import Situation
from symadj.ode.stats import SolveStats
from symadj.ode.user_function import UserFunction
from symadj.ode.watch import Watch, refuse_changed
from symadj.warn import warn

Graph = tuple[list[Tensor], list[Tensor]]
"""An evaluation with graph: the parts of its state, which are leaves, and those of its value."""


class Field:
    """dy/dt = func(t, y) on the engine's flat state.

    It evaluates the user's function, counts the evaluations, knows which tensors may receive a
    gradient, lets the function use autograd inside itself whether or not a graph is kept, and sees
    to it that a backward pass evaluates what the solve did.

    Args:
        func: the user's function or module, called as `func(t, y)` with t a scalar tensor of the
            state's dtype (its real type where that is complex) and y in the shape of y0.
        layout: the layout of y0.
        params: tensors that the caller named besides a module's own parameters.

    Attributes:
        stats: what was evaluated.
        params: the tensors that may receive a gradient.
        checked: whether a backward pass is looked at: whether the field has changed since the
            solve, and whether it reaches tensors that are none of `params`.
        seeks: whether tensors beside those are looked for.
        draws: the random numbers that the field has drawn, where it draws any.
    """

    function_type: ClassVar[type[UserFunction]] = UserFunction
    situation_type: ClassVar[type[Situation]] = Situation

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
        self.checked = True
        self.seeks = True
        self.draws: Draws | None = None
        self._autograd_inside = False
        self._own_pull_back = own_method(func, "pull_back", "forward")
        self._autocast = _autocast_of(layout.device)
        self._call = self.function_type(func, layout, casts=self._autocast[2])
        self._situation: Situation | None = None
        self._quiet: Generators | None = None
        self._watch: Watch | None = None

    @property
    def keeps_graphs(self) -> bool:
        """Whether it is pulled back through graphs of torch.autograd, and not by itself."""
        return self._own_pull_back is None or self._autocast[2]

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
                return self._compared(t, k.detach() if k.requires_grad else k)
            except RuntimeError as error:
                if "does not require grad" not in str(error):
                    raise
                self._autograd_inside = True
        with torch.enable_grad():
            k = self._call(t, y.detach().requires_grad_())
        return self._compared(t, k.detach())

    def _compared(self, t: float, k: Tensor) -> Tensor:
        """k, after a look whether it is what it was in the solve."""
        watch = self._watch
        if watch is not None and t == watch.awaited:
            watch.compare(k.detach())
        return k

    def count(self, evaluations: int) -> None:
        """So many evaluations without graph were made."""
        if self.backward_phase:
            self.stats.recomputed += evaluations
        else:
            self.stats.forward += evaluations

    def traced(self, t: float, y: Tensor) -> Tensor:
        """f(t, y) with its graph, for a later vector-Jacobian product."""
        self._count_graph()
        with torch.enable_grad():
            return self._compared(t, self._call(t, y))

    def _count_graph(self) -> None:
        self.stats.with_graph += 1
        if not self.backward_phase:
            self.stats.forward += 1

    def value_and_vjp(
        self, t: float, y: Tensor, cotangent: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor | None]]:
        """f, (df/dy)^T w and (df/dtheta)^T w for the cotangent w: one evaluation, one product.

        Returns:
            The value, the state's cotangent and, in the order of `params`, the parameters' ones
            (None where the field does not depend on one).
        """
        leaves, values = self.graph_of(t, y)
        of_y, of_params = self._pulled(leaves, values, cotangent)
        return self.value_of(values), of_y, of_params

    def graph_of(self, t: float, y: Tensor) -> Graph:
        """One evaluation with graph, in parts: the state's, leaves of it, and the value's.

        The engine's own cutting and joining of parts is no part of the graph.
        """
        self._count_graph()
        y = y.detach()
        leaves = [part.requires_grad_() for part in self.layout.parts(y)]
        with torch.enable_grad():
            values = self._call.values(t, y, leaves)
        if self._watch is not None and t == self._watch.awaited:
            self._watch.compare(self.value_of(values))
        return leaves, values

    def value_of(self, values: Sequence[Tensor]) -> Tensor:
        """The value of an evaluation by `graph_of`, as the engine has it and without its graph."""
        return self.layout.join([value.detach() for value in values])

    def pull_graph(
        self,
        leaves: Sequence[Tensor],
        values: Sequence[Tensor],
        cotangent: Tensor,
        gradients: ParameterGradients,
    ) -> Tensor:
        """As `pull_back`, of an evaluation by `graph_of`, whose graph is gone then."""
        of_y, of_params = self._pulled(leaves, values, cotangent)
        gradients.add(of_params)
        return of_y

    def _pulled(
        self, leaves: Sequence[Tensor], values: Sequence[Tensor], cotangent: Tensor
    ) -> tuple[Tensor, list[Tensor | None]]:
        self.stats.vjps += 1
        found = self.pull(values, leaves, self.layout.parts(cotangent))
        of_leaves = _or_zeros(found[: len(leaves)], leaves)
        return self.layout.join(of_leaves), found[len(leaves) :]

    def vjp_of_state(
        self, leaves: Sequence[Tensor], values: Sequence[Tensor], cotangent: Tensor
    ) -> Tensor:
        """(df/dy)^T w alone, of an evaluation by `graph_of`, whose graph stays."""
        return self.layout.join(
            vjp(values, leaves, self.layout.parts(cotangent), retain_graph=True)
        )

    def pull(
        self, outputs: Sequence[Tensor], leaves: Sequence[Tensor], cotangents: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """The cotangents of `leaves` and of `params`, through a graph that evaluations have made.

        Raises:
            CapturedTensorError: the graph reaches a tensor with a history that is none of these.
        """
        if self._watch is not None and self.seeks:
            self._watch.graph(outputs, leaves)
        return grad_or_none(outputs, [*leaves, *self.params], cotangents)

    def pull_back(
        self, t: float, y: Tensor, cotangent: Tensor, gradients: ParameterGradients
    ) -> Tensor:
        """(df/dy)^T w for the cotangent w; (df/dtheta)^T w joins `gradients`.

        A module with a method `pull_back(t, y, w, sums)`, and no other `forward` than the one that
        it belongs to, does so by itself (see `own_method`): it returns (df/dy)^T w in the form of y
        and adds to `sums(parameter)`; or None under a function transform, where autograd does.
        """
        if self._own_pull_back is not None and not self.keeps_graphs:
            layout = self.layout
            with torch.no_grad():
                of_y = self._own_pull_back(
                    self._time(t), layout.unflatten(y), layout.unflatten(cotangent), gradients.of
                )
            if of_y is not None:
                self.stats.vjps += 1
                self.stats.with_graph += 1
                return layout.flatten(of_y)
        return self.pull_graph(*self.graph_of(t, y), cotangent, gradients)

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

    def probe(
        self, t: float, y: Tensor, *, again: Sequence[float] = (), t0: float | None = None
    ) -> Tensor:
        """f(t, y), and the discovery of all that a backward pass must know of.

        Leaf tensors that a function captures join `params`. A module that differentiates itself
        reaches its parameters and nothing else, so no graph is made to look behind. Generators of
        random numbers that move are followed from then on.

        Args:
            t: where the value is wanted.
            y: the state.
            again: further times at which a plain function is looked at; a module's parameters are
                known beforehand.
            t0: the start of the first step; None: t.

        Raises:
            CapturedTensorError: the field captures a non-leaf tensor that needs a gradient.
            IncompatibleError: the field uses reentrant checkpointing.
        """
        if not self.keeps_graphs:
            value = self.value(t, y)
            self._situation = self.situation_type(self.func)
            return value
        generators = Generators(self.layout.device)
        before = generators.states()
        value = self._look(t, y) if self.seeks else self.value(t, y)
        after = generators.states()
        self._situation = self.situation_type(self.func)
        if self.seeks and not isinstance(self.func, nn.Module):
            with self._situation.statistics_kept():
                for time in again:
                    self._look(time, y)
        if generators.moved(before):
            self.draws = Draws(generators, before, t if t0 is None else t0)
            # The looks at other times have no part in the solve.
            generators.restore(after)
        else:
            generators.mark(after)
            self._quiet = generators
        return value

    def look(self, t: float, y: Tensor) -> Tensor:
        """f(t, y) without graph, for a solve in which nothing is known that needs a gradient.

        Raises:
            LeavesFound: func uses tensors that do; they have joined `params`.
        """
        k = self._look(t, y)
        if self.params:
            raise LeavesFound
        return k

    def _look(self, t: float, y: Tensor) -> Tensor:
        """f(t, y); the leaves found behind it join `params`. The graph is gone on return."""
        self.stats.forward += 1
        mark = sequence_mark()
        needed = bool(y.requires_grad or self.params)
        k, given = self._with_graph(t, y, needed or self._autograd_inside)
        found = [
            weakref.ref(leaf) for leaf in leaves_behind(k, mark, inputs=given, named=self.params)
        ]
        if needed and not k.requires_grad:
            warn(
                "func's value does not depend differentiably on the state or on any parameter, so "
                "its gradient is zero; if func calls torch.autograd.grad, it needs "
                "create_graph=True."
            )
        k = k.detach()
        # What func made itself is gone with the graph.
        living = [leaf for reference in found if (leaf := reference()) is not None]
        self.params = _distinct([*self.params, *living])
        return k

    def _with_graph(self, t: float, y: Tensor, needed: bool) -> tuple[Tensor, list[Tensor]]:
        """f(t, y) with its graph, and what func was called with.

        The state needs a gradient where that is `needed`: func may do with another one what no
        gradient can pass, or be unable to do without.
        """
        leaf = y.detach().requires_grad_(needed)
        given = [leaf]
        try:
            with torch.enable_grad():
                return self._call(t, leaf, given), given
        except RuntimeError as error:
            if needed or "does not require grad" not in str(error):
                raise
        self._autograd_inside = True
        return self._with_graph(t, y, True)

    def settle(self) -> None:
        """The solve is done: what its evaluations have changed, they may change again."""
        if self._situation is not None:
            self._situation.settle()

    def drew_late(self, t0: float) -> bool:
        """Whether the solve that was just made drew random numbers where the probe saw none.

        If so, the generators are as before it, and are followed from now on.
        """
        quiet, self._quiet = self._quiet, None
        if quiet is None or not quiet.moved(quiet.marked):
            return False
        self.draws = Draws(quiet, quiet.marked, t0)
        quiet.restore(quiet.marked)
        return True

    def refuse_changes(self) -> None:
        """Looks whether all that func uses is as it was in the solve.

        Raises:
            FieldChangedError: something is not.
        """
        change = self._situation.change() if self.checked and self._situation else None
        if change is not None:
            refuse_changed(change)

    @contextlib.contextmanager
    def backward(self, t0: float, first: Callable[[], Tensor] | None) -> Iterator[None]:
        """The phase of a backward pass, which leaves generators and statistics as they are.

        Args:
            t0: when the solve evaluated it first.
            first: gives f(t0, y0) as the solve had it; None: the store keeps it as a stage.

        Raises:
            CapturedTensorError: func used a leaf that needs a gradient and was not known.
        """
        assert self._situation is not None
        generators = self.draws.generators if self.draws is not None else None
        states = generators.states() if generators is not None else []
        with self.phase("backward"), self._situation.statistics_kept():
            if self.checked:
                self._watch = Watch(self.func, t0, first, self.layout, self.params)
            try:
                yield
                if self._watch is not None:
                    self._watch.finish()
            finally:
                self._watch = None
                if generators is not None:
                    generators.restore(states)

    def expect(self, k: Tensor | None) -> None:
        """The first stage of the first step, where a store has kept it."""
        if self._watch is not None and k is not None:
            self._watch.expect(k)

    def conclude(self, y0: Tensor) -> None:
        """Evaluates the first stage of the solve where the backward pass has not done so.

        Raises:
            FieldChangedError: its value is another one.
        """
        watch = self._watch
        if watch is not None and watch.awaited == watch.t0:
            if self.draws is not None:
                self.draws.restore(self.draws.t0, 0)
            self.value(watch.t0, y0)

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
        return self._call.time(t)


class LeavesFound(Exception):
    """A solve that was taken for one without gradients turns out to need some."""


def grad_or_none(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    **options: bool,
) -> list[Tensor | None]:
    """torch.autograd.grad with None for every input that no output depends on."""
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return [None] * len(inputs)
    gradients = torch.autograd.grad(
        [o for o, _ in pairs], inputs, [c for _, c in pairs], allow_unused=True, **options
    )
    return list(gradients)


def vjp(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    cotangents: Sequence[Tensor],
    **options: bool,
) -> list[Tensor]:
    """torch.autograd.grad with zeros for every input that no output depends on."""
    return _or_zeros(grad_or_none(outputs, inputs, cotangents, **options), inputs)


def _or_zeros(gradients: Sequence[Tensor | None], inputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, inputs, strict=True)]


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
