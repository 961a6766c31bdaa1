"""The commands of an experiment, with what the tables call them."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from symadj.cli.bench import APP as BENCH
from symadj.cli.train import APP as TRAIN
from symadj.config.schema import Config
from symadj.launch.job import Job, identity

APPS = {"train": TRAIN, "bench": BENCH}
Label = str | int | float


@dataclass(frozen=True)
class Command:
    """One command: a training, or a benchmark with a record for each of its rows.

    Attributes:
        kind: "train" or "bench".
        overrides: of its configuration.
        labels: columns of the tables; "data" stands for the data's name there.
        seconds: that it takes, about, on one core of the machine that the committed results are
            from; None: unknown.
        weights: the training whose weights a benchmark measures; None: fresh ones.
        isolate: whether a training, or each row of a benchmark, has a process of its own.
        config_dir: a directory with further groups and options; None: symadj's own alone.
    """

    kind: str
    overrides: tuple[str, ...]
    labels: Mapping[str, Label]
    seconds: float | None = None
    weights: Command | None = None
    isolate: bool = True
    config_dir: Path | None = None

    @property
    def slug(self) -> str:
        """A name for its directory."""
        words = [v if isinstance(v, str) else f"{k}-{v:g}" for k, v in self.labels.items()]
        return re.sub(r"[^A-Za-z0-9.]+", "-", "_".join(words)).strip("-.")[:100] or self.kind

    def full_overrides(self, runs: Path, weights: Path | None = None) -> list[str]:
        """All overrides: the command's own, and where it is run.

        Args:
            runs: the directory of the experiment's runs.
            weights: the directory of the training that `weights` names; None: where it would be.
        """
        more = [f"name={self.slug}", f"out={quoted(runs)}"]
        if self.kind == "bench":
            more.append(f"isolate={str(self.isolate).lower()}")
        if self.weights is not None:
            more.append(f"weights={quoted(weights or runs / self.weights.slug)}")
        return [*self.overrides, *more]

    def job(self, runs: Path, weights: Path | None = None) -> Job:
        """The command as a job; arguments and errors as `full_overrides` and `configuration`."""
        overrides = self.full_overrides(runs, weights)
        config = dict(self.configuration(overrides))
        del config["launcher"]
        return Job(self.kind, config, tuple(overrides), self.slug, failures_count=True)

    def fingerprint(self, runs: Path) -> str:
        """A short hash of what is run: equal on all machines, and below all directories.

        That of a benchmark of trained weights has the training's in it. Of a user's file the name
        counts alone.

        Args:
            runs: the directory of the experiment's runs, which takes no part in it.
        """
        config = dict(self.job(runs).config)
        config.pop("weights", None)
        if "path" in (data := config.get("data") or {}):
            config["data"] = {**data, "path": Path(str(data["path"])).name}
        told = identity(self.kind, config)
        if self.weights is not None:
            told += self.weights.fingerprint(runs)
        return hashlib.sha256(told.encode(errors="backslashreplace")).hexdigest()[:16]

    def configuration(self, overrides: Sequence[str]) -> Config:
        """The resolved configuration.

        Raises:
            InputError: overrides that cannot be composed, explained.
        """
        return _configuration(self.kind, tuple(overrides), self.config_dir)

    def shown(self, overrides: Sequence[str]) -> str:
        """The command as it is typed."""
        more = [] if self.config_dir is None else ["--config-dir", os.path.relpath(self.config_dir)]
        return shlex.join([APPS[self.kind].name, *more, *overrides])


@dataclass(frozen=True)
class Preset:
    """One way to run an experiment.

    Attributes:
        commands: what is run, in this order.
        notes: what a reader of the tables must know of it.
        prepare: commands that others build on and that no table shows.
        shown: commands that are not run, and whose results the tables show where there are any.
    """

    commands: Sequence[Command]
    notes: Sequence[str] = ()
    prepare: Sequence[Command] = field(default=())
    shown: Sequence[Command] = field(default=())


@functools.cache
def _configuration(kind: str, overrides: tuple[str, ...], config_dir: Path | None) -> Config:
    return APPS[kind].configuration(overrides, config_dir)


def quoted(path: Path) -> str:
    """A path as Hydra's override grammar takes it."""
    text = str(path)
    if re.fullmatch(r"[A-Za-z0-9_./~-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
