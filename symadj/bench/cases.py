"""What a benchmark measures: one case for every method, solver, batch size and number of steps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symadj.config.bench import OWN, BenchSettings
from symadj.config.rows import changed
from symadj.config.schema import Config
from symadj.errors import InputError

AUTOGRAD_TRACE = ", autograd trace"
"""Behind the label of a method whose trace comes from a reverse-mode pass inside the field."""
STAND_INS = {"dop853": "dopri8"}
"""Solvers that other software lacks, and what it has in their place: for DOP853 the 8(7) pair of
Prince and Dormand (1981) in 13 stages."""


@dataclass(frozen=True)
class Peer:
    """A way in which other software computes the gradient.

    Attributes:
        package: what must be installed.
        label: of its row.
        adjoint: whether its continuous adjoint method is used.
        tangent: whether the derivative inside the field is taken as symadj's own models take it (a
            trace in one forward pass that carries tangents, an energy's gradient by its formula);
            otherwise by a reverse-mode pass inside the field, as a user would write it.
    """

    package: str
    label: str
    adjoint: bool = False
    tangent: bool = True


VARIANTS = (
    Peer("torchdiffeq", "torchdiffeq"),
    Peer("torchdiffeq", "torchdiffeq adjoint", adjoint=True),
    Peer("torchdiffeq", f"torchdiffeq{AUTOGRAD_TRACE}", tangent=False),
    Peer("torchdiffeq", f"torchdiffeq adjoint{AUTOGRAD_TRACE}", adjoint=True, tangent=False),
    Peer("diffrax", "diffrax"),
    Peer("diffrax", f"diffrax{AUTOGRAD_TRACE}", tangent=False),
)
PRODUCTS = Peer("torch", "matrix products")
"""torch's own: the matrix products of the symplectic method and nothing else."""


@dataclass(frozen=True)
class Case:
    """One row: a method on one problem.

    Attributes:
        label: of the gradient method or peer.
        config: the resolved configuration of the row, which `symadj-train` would take too.
        peer: None for symadj's own methods.
        tangent: whether the trace comes from tangents, as in `Peer`.
    """

    label: str
    config: Mapping[str, Any]
    peer: Peer | None = None
    tangent: bool = True

    @property
    def slug(self) -> str:
        """A name for files and directories."""
        return _slug(self.label)

    @property
    def solver(self) -> str:
        """The Runge-Kutta method that it steps with: other software may have another one."""
        method = str(self.config["solver"].get("method", ""))
        return method if self.peer in (None, PRODUCTS) else STAND_INS.get(method, method)


@dataclass(frozen=True)
class Group:
    """Cases that differ in the method alone: same solver, batch and steps, one reference.

    Attributes:
        title: solver, batch and steps.
        slug: the same for names of directories; empty where there is one group only.
        cases: the rows.
    """

    title: str
    slug: str
    cases: tuple[Case, ...]

    @property
    def neutral(self) -> dict[str, Any]:
        """The configuration of the group with the gradient method that goes with any solver."""
        return {**self.cases[0].config, "grad": {"_target_": "symadj.grad.Backprop"}}


def groups(config: Config, settings: BenchSettings) -> list[Group]:
    """All groups of a benchmark, in the order of its lists.

    Args:
        config: as `symadj.config.bench.compose_bench` gives it.
        settings: the same, typed.
    """
    plain = dict(config)
    solvers = plain["solvers"] or {plain["solver"]["method"]: plain["solver"]}
    batches = settings.batch or [settings.train.batch_size]
    steps = settings.steps or [_GIVEN]
    axes = list(itertools.product(solvers, batches, steps))
    found: list[Group] = []
    for solver, batch, count in axes:
        base = _base(plain, solvers[solver], batch, count)
        words, steps_word = [solver, f"batch {batch}"], _steps_word(base["solver"])
        slug = "_".join(map(_slug, words if count in (_GIVEN, None) else [*words, steps_word]))
        slug = slug if len(axes) > 1 else ""
        title = ", ".join(filter(None, [*words, steps_word]))
        found.append(Group(title, slug, _cases(plain, settings, base)))
    return found


_GIVEN = -1  # the steps that the solver's own settings say


def _base(
    plain: dict[str, Any], solver: dict[str, Any], batch: int, count: int | None
) -> dict[str, Any]:
    config = {key: value for key, value in plain.items() if key not in OWN}
    config["train"] = {**plain["train"], "batch_size": batch}
    config["solver"] = dict(solver)
    if count != _GIVEN:
        config["solver"] |= {"num_steps": count, "step_size": None, "grid": None}
    return config


def _cases(
    plain: dict[str, Any], settings: BenchSettings, base: dict[str, Any]
) -> tuple[Case, ...]:
    own = [
        Case(
            f"{name}{AUTOGRAD_TRACE}" if trace == "autograd" else name,
            {**base, "grad": node},
            tangent=trace == "tangent",
        )
        for trace in settings.traces
        for name, node in plain["grads"].items()
    ]
    own += [Case(label, changed(base, changes)) for label, changes in plain["rows"].items()]
    peers = [
        # The section says which of symadj's methods does what the peer's does.
        Case(peer.label, {**base, "grad": {"_target_": _like(peer)}}, peer, peer.tangent)
        for peer in VARIANTS
        if peer.package in settings.peers
    ]
    alone = [Case(PRODUCTS.label, {**base, "grad": _SYMPLECTIC}, PRODUCTS)]
    cases = (*own, *peers, *(alone if settings.products else ()))
    labels = [case.label for case in cases]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"rows: there is a row {twice[0]!r} already; give it another label.")
    return cases


_SYMPLECTIC = {"_target_": "symadj.grad.Symplectic"}


def _like(peer: Peer) -> str:
    if peer.package == "diffrax":
        return "symadj.grad.Checkpoint"
    return "symadj.grad.Adjoint" if peer.adjoint else "symadj.grad.Backprop"


def _steps_word(solver: dict[str, Any]) -> str:
    if solver.get("num_steps"):
        return f"{solver['num_steps']} steps"
    if solver.get("step_size"):
        return f"step size {solver['step_size']:g}"
    return "" if solver.get("grid") else f"rtol {solver['rtol']:g} atol {solver['atol']:g}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)
