"""The settings of a benchmark, typed, and the choices that its lists name."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf, open_dict

from symadj.config.build import locate
from symadj.config.compose import compose, typed
from symadj.config.groups import composed, group_options
from symadj.config.rows import with_changes
from symadj.config.schema import Config, RunSettings
from symadj.errors import IncompatibleError, InputError, suggest
from symadj.ranges import check_settings

CONFIG_NAME = "bench"
PEERS = ("torchdiffeq", "diffrax")
AUTOCAST = ("bfloat16", "float16")
TRACES = ("tangent", "autograd")


@dataclass
class BenchSettings(RunSettings):
    """The configuration of `symadj-bench`: that of a run, and what is measured.

    Attributes:
        grads: options of the group `grad`: names, or by name their nodes (see `with_choices`).
        solvers: likewise of the group `solver`; empty: the one of `solver`.
        batch: batch sizes; empty: `train.batch_size`.
        steps: numbers of fixed steps, null for adaptive ones; empty: `solver.num_steps`.
        rows: further rows: by label a list of overrides, such as ['grad=symplectic',
            'solver.rtol=1e-3'], or in their place the sections that it changes (see
            `with_choices`); null: none.
        peers: other software that is measured along: `PEERS`.
        traces: how the trace of a flow is computed, of `TRACES`: "tangent", by tangents that the
            forward pass carries along, or "autograd", by a reverse-mode pass inside the field, as
            for a network without tangents. With both every method has a row of each.
        products: whether a row times nothing but the matrix products of the symplectic method.
        profile: whether the seconds of symadj's rows are told apart, as metrics "profile/PART" by
            `symadj.bench.profile`.
        repeats: timed evaluations of each row.
        warmup: evaluations before them that are not timed; the first one is counted.
        isolate: whether each row has a process of its own.
        time_limit: seconds after which a row is given up; null: none. Without isolation it only
            ends the repetitions.
        weights: a run's directory or a file of its weights, which are measured instead of fresh
            ones; null: fresh ones.
        autocast: bfloat16 or float16: in which the fields are evaluated under `torch.autocast`;
            null: without it.
        compare: whether gradients are compared with the reference.
        converged: rtol = atol of a solve by dop853 in float64, with whose gradient they are
            compared as well; null: they are not.
    """

    out: str = "results/bench"
    grads: Any = MISSING
    solvers: Any = MISSING
    batch: list[int] = field(default_factory=list)
    steps: list[int | None] = field(default_factory=list)
    rows: Any = field(default_factory=dict)
    peers: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=lambda: ["tangent"])
    products: bool = False
    profile: bool = False
    repeats: int = 5
    warmup: int = 1
    isolate: bool = True
    time_limit: float | None = 600
    weights: str | None = None
    autocast: str | None = None
    compare: bool = True
    converged: float | None = None

    def check(self) -> None:
        """Raises `InputError` for a value out of its range."""
        super().check()
        if self.devices != 1:
            raise IncompatibleError(
                f"devices={self.devices}: a benchmark measures one device. Take devices=1, and a "
                "row of the batch size that is a device's share."
            )
        for peer in self.peers:
            if peer not in PEERS:
                raise InputError(f"unknown peer {peer!r}.{suggest(peer, PEERS)}")
        for trace in self.traces:
            if trace not in TRACES:
                raise InputError(f"unknown trace {trace!r} in traces.{suggest(trace, TRACES)}")
        if not self.traces:
            raise InputError(f"traces=[]; at least one of {', '.join(TRACES)} is needed.")
        for name in ("batch", "steps", "peers", "traces"):
            values = list(getattr(self, name))
            if len(set(values)) < len(values):
                raise InputError(f"{name}={values} holds a value twice.")
        if not (self.grads or self.rows or self.peers or self.products):
            raise InputError("nothing to measure: give grads=[...], rows={...} or peers=[...].")
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise InputError(
                f"unknown autocast={self.autocast!r}.{suggest(self.autocast, AUTOCAST)}"
            )


OWN = tuple({f.name for f in fields(BenchSettings)} - {f.name for f in fields(RunSettings)})
"""The settings that are the benchmark's and no run's."""
# Rows that differ in these would be rows of different problems, or share a process in vain.
_SHARED = ("data", "model", "task", "train", "seed", "dtype", "device", "threads")

ConfigStore.instance().store(name="bench_settings", node=BenchSettings)


def compose_bench(overrides: Sequence[str] = (), extra: Path | None = None) -> Config:
    """The resolved configuration of a benchmark, what its lists name in place of the names.

    Args, Raises: as `symadj.config.compose.compose`.
    """
    # While interpolations are there: what a row changes may change more.
    return compose(CONFIG_NAME, overrides, extra, with_choices)


def bench_settings(config: Config) -> BenchSettings:
    """A configuration as the typed object, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    _check_choices(config)
    return typed(config, BenchSettings)


def _check_choices(config: Config) -> None:
    """Raises `InputError` for a number out of its range in `grads`, `solvers` or `rows`."""
    for group in ("grad", "solver"):
        for name, node in config[f"{group}s"].items():
            check_settings(group, node, shown=f"{group}={name}: {group}.")
    for label, changes in (config["rows"] or {}).items():
        whole = {key: value for key, value in changes.items() if not isinstance(value, dict)}
        check_settings("", whole, shown=f"rows: {label}: ")
        for section, node in changes.items():
            if isinstance(node, dict):
                check_settings(section, node, shown=f"rows: {label}: {section}.")


def with_choices(config: DictConfig, extra: Path | None = None) -> DictConfig:
    """The configuration with what `grads`, `solvers` and `rows` name in place of the names.

    The settings given for `grad` and `solver` hold wherever they fit: those of `grad` for the
    method of that name, those of `solver` (tolerances, step size) for all solvers.

    Args:
        config: as composed; lists that hold no names (any more) stay as they are.
        extra: a further directory of configurations.

    Raises:
        InputError: a name that the group does not have.
    """
    config = config.copy()
    with open_dict(config):
        if not isinstance(config.grads, DictConfig):
            config.grads = _grads(config, extra)
        if not isinstance(config.solvers, DictConfig):
            config.solvers = _solvers(config, extra)
        config.rows = with_changes(
            config.rows,
            config,
            (*OWN, *_SHARED),
            lambda name: _options("grad", OmegaConf.create([name]), extra)[name],
        )
    return config


def _grads(config: DictConfig, extra: Path | None) -> dict[str, DictConfig]:
    nodes = _options("grad", config.grads, extra)
    # A variant of a method (symplectic_stages) has a name and settings of its own.
    own = getattr(locate(config.grad._target_, "grad"), "name", None)
    if own in nodes:
        nodes[own] = config.grad
    return nodes


def _solvers(config: DictConfig, extra: Path | None) -> dict[str, DictConfig]:
    nodes = _options("solver", config.solvers, extra)
    for node in nodes.values():
        for key, value in config.solver.items():
            if key in node and key not in ("_target_", "method"):
                node[key] = value
    return nodes


def _options(group: str, names: Any, extra: Path | None) -> dict[str, DictConfig]:
    """The nodes of a group's options, by name."""
    if not isinstance(names, ListConfig):
        raise InputError(f"{group}s={names}; a list of names is needed: {group}s=[NAME,...].")
    allowed = group_options(extra).get(group, [])
    nodes: dict[str, DictConfig] = {}
    for name in names:
        if name not in allowed:
            raise InputError(f"{group}s: unknown {group} {name!r}.{suggest(name, allowed)}")
        if name in nodes:
            raise InputError(f"{group}s={list(names)} holds {name!r} twice.")
        nodes[name] = _option(group, name, extra).copy()
    return nodes


@functools.cache
def _option(group: str, name: str, extra: Path | None) -> DictConfig:
    return composed(CONFIG_NAME, [f"{group}={name}"], extra)[group]
