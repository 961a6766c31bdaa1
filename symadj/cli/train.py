"""`symadj-train`: trains a model by a neural ODE, as the configuration says."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from symadj.cli.app import App
from symadj.config.compose import compose
from symadj.config.overrides import value_of
from symadj.config.saved import resumed_config
from symadj.config.schema import Config
from symadj.launch.job import Outcome
from symadj.run.train import train

PURPOSE = """\
Trains a model by a neural ODE, measures what it costs, and leaves record, history, checkpoint and
plots in a directory of its own. Without overrides: a normalizing flow (FFJORD) on scikit-learn's
handwritten digits, dopri5, gradients by the symplectic adjoint method."""

SETTINGS = (
    ("solver=rk4 solver.num_steps=20", "fixed steps (or solver.step_size=0.05)"),
    ("solver.rtol=1e-6 solver.atol=1e-8", "tolerances of the adaptive solvers"),
    ("task.check_tolerance=0.1", "nats; warn where a tighter solver gives another NLL (null: no)"),
    ("data=csv data.path=FILE", "your own table, .csv or .npy"),
    ("data=toy2d data.name=8gaussians", "a two-dimensional toy set, with a density plot"),
    ("data=two_body", "a physical system, with a task and a model that fit it"),
    ("data=trajectories data.path=mine.npz", "your own trajectories: t [T], u [n, T, ...]"),
    ("model.components=2", "stacked flows, each with a solve of its own"),
    ("train.steps=100", "training iterations"),
    ("train.batch_size=100", "samples per iteration"),
    ("train.max_seconds=600", "wall-clock bound on training (null: none)"),
    ("optim.lr=1e-3", "learning rate"),
    ("seed=1", "of every random number; the same seed gives the same losses"),
    ("device=cpu dtype=float64 threads=2", "where and how precisely"),
    ("devices=2", "share every batch among two GPUs, or two processes on the CPU"),
    ("compile=true", "the solver's step and the gradient's compiled (grad=symplectic)"),
    ("name=NAME out=DIR", "name of the run directory and where it is made"),
    ("resume=RUN_DIR", "go on with a training that was cut off"),
    ("launcher.workers=2", "with -m: so many jobs at once, each in a process of its own"),
    ("launcher=inline", "with -m: all jobs in this process, for a debugger"),
    ("search=tpe optim.lr=tag(log,interval(1e-4,1e-1))", "with -m: search (docs/searches.md)"),
    ("fresh=true", "with -m: run again what is finished already, beside it"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return APP.main(argv)


def _run(config: Config, overrides: Sequence[str]) -> Outcome:
    return Outcome.of(train(config, overrides))


def _configuration(
    overrides: Sequence[str], extra: Path | None = None, trusted: Sequence[str] = ()
) -> Config:
    """Of a new run, or that of the run to go on with."""
    directory = value_of("resume", overrides)
    if directory is None:
        return compose("train", overrides, extra)
    return resumed_config(Path(directory), overrides, trusted, extra)


APP = App(
    name="symadj-train",
    purpose=PURPOSE,
    settings=SETTINGS,
    configuration=_configuration,
    run=_run,
    kind="train",
)

if __name__ == "__main__":
    sys.exit(main())
