"""A benchmark small enough for tests: a row of it takes some hundredths of a second."""

from __future__ import annotations

from symadj.bench.cases import Case, groups
from symadj.config.bench import bench_settings, compose_bench
from symadj.config.schema import Config

SMALL = (
    "data=mixture",
    "data.dim=2",
    "data.size=20",
    "model.hidden=[6]",
    "model.noise=gaussian",
    "train.batch_size=6",
    "grads=[symplectic]",
    "repeats=1",
    "threads=1",
    "isolate=false",
)

WAVES = (
    "experiment=kdv",
    "data.trajectories=2",
    "data.steps=4",
    "model.hidden=[6,5]",
    "train.batch_size=3",
    "grads=[]",
    "repeats=1",
    "threads=1",
    "isolate=false",
)
"""The same of an energy over a grid, without a method; it generates its data (SYMADJ_DATA)."""


def small(*overrides: str) -> Config:
    """The configuration of a small benchmark."""
    names = {override.partition("=")[0] for override in overrides}
    kept = [override for override in SMALL if override.partition("=")[0] not in names]
    return compose_bench([*kept, *overrides])


def small_cases(*overrides: str) -> tuple[Case, ...]:
    """The cases of a small benchmark that has one group."""
    config = small(*overrides)
    (group,) = groups(config, bench_settings(config))
    return group.cases
