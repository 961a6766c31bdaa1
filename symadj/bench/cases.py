"""What a benchmark measures: one case for every method, solver, batch size and number of steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from symadj.config.bench import OWN, BenchSettings
from symadj.config.build import locate
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

    @property
    def packages(self) -> tuple[str, ...]:
        """What its figures depend on, by the names of the packages."""
        return (self.package, "jax") if self.package == "diffrax" else (self.package,)


VARIANTS = (
    Peer("torchdiffeq", "torchdiffeq"),
    Peer("torchdiffeq", "torchdiffeq adjoint", adjoint=True),
    Peer("torchdiffeq", f"torchdiffeq{AUTOGRAD_TRACE}", tangent=False),
    Peer("torchdiffeq", f"torchdiffeq adjoint{AUTOGRAD_TRACE}", adjoint=True, tangent=False),
    Peer("diffrax", "diffrax"),
    Peer("diffrax", f"diffrax{AUTOGRAD_TRACE}", tangent=False),
)


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
        return method if self.peer is None else STAND_INS.get(method, method)


@dataclass(frozen=True)
class Group:
    """Cases that differ in the method alone: same solver, batch and steps, one reference.

    Attributes:
        title: solver, batch and steps.
        slug: the same for names of directories; empty where there is one group only.
        config: what the rows share, with the command's own gradient method.
        cases: the rows.
    """

    title: str
    slug: str
    config: Mapping[str, Any]
    cases: tuple[Case, ...]

    @property
    def neutral(self) -> dict[str, Any]:
        """The configuration of the group with the gradient method that goes with any solver."""
        return {**self.config, "grad": {"_target_": "symadj.grad.Backprop"}}


def groups(config: Config, settings: BenchSettings) -> list[Group]:
    """All groups of a benchmark, in the order of its lists.

    Args:
        config: as `symadj.config.bench.compose_bench` gives it.
        settings: the same, typed.

    Raises:
        InputError: two rows of one label, or a task whose loss solves no ODE.
    """
    base = {key: value for key, value in config.items() if key not in OWN}
    names = settings.solvers or [base["solver"]["method"]]
    per_solver = len(config["groups"]) // len(names)
    found: list[Group] = []
    for number, group in enumerate(config["groups"]):
        shared = {**base, **group["changes"]}
        words = [names[number // per_solver], f"batch {shared['train']['batch_size']}"]
        steps = _steps_word(shared["solver"])
        counted = settings.steps and shared["solver"].get("num_steps")
        slug = "_".join(map(_slug, [*words, steps] if counted else words))
        title = ", ".join(filter(None, [*words, steps]))
        cases = _cases(settings, shared, group["rows"])
        found.append(Group(title, slug if len(config["groups"]) > 1 else "", shared, cases))
    return found


def _cases(
    settings: BenchSettings, shared: Config, rows: Mapping[str, dict[str, Any]]
) -> tuple[Case, ...]:
    own = [
        Case(
            f"{label}{AUTOGRAD_TRACE}" if trace == "autograd" else label,
            {**shared, **rows[label]},
            tangent=trace == "tangent",
        )
        for trace in settings.traces
        for label in settings.grads
    ]
    others = (label for label in rows if label not in settings.grads)
    own += [Case(label, {**shared, **rows[label]}) for label in others]
    tangents = [trace == "tangent" for trace in settings.peer_traces]
    peers = [p for p in VARIANTS if p.package in settings.peers and p.tangent in tangents]
    cases = (
        *own,
        # The section says which of symadj's methods does what the peer's does.
        *(
            Case(peer.label, {**shared, "grad": {"_target_": _like(peer)}}, peer, peer.tangent)
            for peer in peers
        ),
    )
    labels = [case.label for case in cases]
    if twice := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"rows: there is a row {twice[0]!r} already; give it another label.")
    for case in cases:
        _check_solves(case.config["task"]["_target_"])
    return cases


def _check_solves(target: str) -> None:
    if not getattr(locate(target, "task"), "solves", True):
        raise InputError(
            f"the loss of {target} solves no ODE, so that there are no gradient methods to compare "
            "on it. Take task=density or task=physics."
        )


def _like(peer: Peer) -> str:
    if peer.package == "diffrax":
        return "symadj.grad.Checkpoint"
    return "symadj.grad.Adjoint" if peer.adjoint else "symadj.grad.Backprop"


def _steps_word(solver: Mapping[str, Any]) -> str:
    if solver.get("num_steps"):
        return f"{solver['num_steps']} steps"
    if solver.get("step_size"):
        return f"step size {solver['step_size']:g}"
    return "" if solver.get("grid") else f"rtol {solver['rtol']:g} atol {solver['atol']:g}"


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", text)
