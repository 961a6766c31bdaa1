"""The settings of a benchmark, typed, and the choices that its lists name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore

from symadj.config.compose import compose, typed
from symadj.config.rows import CONFIG_NAME, Rows
from symadj.config.schema import Config, RunSettings
from symadj.errors import IncompatibleError, InputError, suggest

PEERS = ("torchdiffeq", "diffrax")
AUTOCAST = ("bfloat16", "float16")
TRACES = ("tangent", "autograd")


@dataclass
class BenchSettings(RunSettings):
    """The configuration of `symadj-bench`: that of a run, and what is measured.

    Attributes:
        grads: options of the group `grad`, a row each.
        solvers: options of the group `solver`; empty: the one of `solver`.
        batch: batch sizes; empty: `train.batch_size`.
        steps: numbers of fixed steps, null for adaptive ones; empty: `solver.num_steps`.
        rows: further rows: by label a list of overrides, such as ['grad=symplectic',
            'solver.rtol=1e-3']; null: none.
        peers: other software that is measured along: `PEERS`.
        traces: how the trace of a flow is computed, of `TRACES`: "tangent", by tangents that the
            forward pass carries along, or "autograd", by a reverse-mode pass inside the field, as
            for a network without tangents. With both every method has a row of each.
        peer_traces: the same of the peers, which have a row of each. A field of your own is
            differentiated in one way whatever this says, so that one of them is enough.
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
        groups: what these lists come to, the settings of every row (see `symadj.config.rows.Rows`);
            it is set by `compose_bench` and by nothing else.
    """

    out: str = "results/bench"
    grads: list[str] = field(default_factory=list)
    solvers: list[str] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    steps: list[int | None] = field(default_factory=list)
    rows: Any = None
    peers: list[str] = field(default_factory=list)
    traces: list[str] = field(default_factory=lambda: ["tangent"])
    peer_traces: list[str] = field(default_factory=lambda: list(TRACES))
    profile: bool = False
    repeats: int = 5
    warmup: int = 1
    isolate: bool = True
    time_limit: float | None = 600
    weights: str | None = None
    autocast: str | None = None
    compare: bool = True
    converged: float | None = None
    groups: Any = None

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
        for name in ("traces", "peer_traces"):
            for trace in getattr(self, name):
                if trace not in TRACES:
                    raise InputError(f"unknown trace {trace!r} in {name}.{suggest(trace, TRACES)}")
            if not getattr(self, name):
                raise InputError(f"{name}=[]; at least one of {', '.join(TRACES)} is needed.")
        for name in ("grads", "solvers", "batch", "steps", "peers", "traces", "peer_traces"):
            values = list(getattr(self, name))
            if len(set(values)) < len(values):
                raise InputError(f"{name}={values} holds a value twice.")
        if not (self.grads or self.rows or self.peers):
            raise InputError("nothing to measure: give grads=[...], rows={...} or peers=[...].")
        if self.autocast is not None and self.autocast not in AUTOCAST:
            raise InputError(
                f"unknown autocast={self.autocast!r}.{suggest(self.autocast, AUTOCAST)}"
            )


OWN = tuple({f.name for f in fields(BenchSettings)} - {f.name for f in fields(RunSettings)})
"""The settings that are the benchmark's and no run's."""

ConfigStore.instance().store(name="bench_settings", node=BenchSettings)


def compose_bench(overrides: Sequence[str] = (), extra: Path | None = None) -> Config:
    """The resolved configuration of a benchmark, with all its rows composed under `groups`.

    Args, Raises: as `symadj.config.compose.compose`; the settings of every row are checked too.
    """
    config = compose(CONFIG_NAME, overrides, extra)
    settings = bench_settings(config)
    if settings.groups is not None:
        raise InputError(
            f"groups={settings.groups}; they follow from grads, rows, solvers, batch and steps."
        )
    rows = Rows(overrides, OWN, extra)
    labelled = {name: [f"grad={name}"] for name in settings.grads}
    for label, row in rows.checked(settings.rows).items():
        if label in labelled:
            raise InputError(f"rows: there is a row {label!r} already; give it another label.")
        labelled[label] = row
    steps = ("solver.step_size=null", "solver.grid=null")
    counts = ["null" if count is None else count for count in settings.steps]
    groups = rows.groups(
        labelled,
        [
            [(f"solver={name}",) for name in settings.solvers],
            [(f"train.batch_size={size}",) for size in settings.batch],
            [(*steps, f"solver.num_steps={count}") for count in counts],
        ],
    )
    return {**config, "groups": groups}


def bench_settings(config: Config) -> BenchSettings:
    """A configuration as the typed object, its ranges checked.

    Raises:
        InputError: an unknown setting, a wrong type, or a value out of its range.
    """
    return typed(config, BenchSettings)
