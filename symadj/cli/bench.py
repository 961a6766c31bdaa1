"""`symadj-bench`: what each gradient method costs on one problem, and how exact it is."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from symadj.bench.run import bench
from symadj.cli.app import App
from symadj.config.bench import compose_bench
from symadj.config.schema import Config
from symadj.launch.job import Outcome

PURPOSE = """\
Measures gradient methods side by side on one batch of a problem, same weights and noise for all:
seconds, peak memory with its parts, evaluations, steps, and the error of the gradient. Prints the
tables and writes them as CSV, Markdown and LaTeX with a bar chart. A method that fails or runs out
of memory or time is a cell of the table. Without overrides: five methods on a flow for
scikit-learn's digits, each in a process of its own."""

SETTINGS = (
    ("grads=[aca,symplectic]", "the gradient methods"),
    ("rows={loose:['grad=aca','solver.rtol=1e-2']}", "rows with settings of their own"),
    ("peers=[torchdiffeq,diffrax]", "other software beside them (pip install 'symadj[peers]')"),
    ("traces=[tangent,autograd]", "a flow's trace in two ways, side by side"),
    ("peer_traces=[tangent]", "of a field of your own, one row of each peer"),
    ("solvers=[dopri5,bosh3]", "an axis: solvers; solver.rtol, solver.atol hold for all"),
    ("batch=[100,1000]", "an axis: batch sizes"),
    ("steps=[10,100]", "an axis: numbers of fixed steps"),
    ("experiment=gas_sized", "synthetic data and network of the size of GAS"),
    ("repeats=10 warmup=2", "timed evaluations of a row, and those before them"),
    ("isolate=false", "one process for all rows, their repetitions in turn"),
    ("time_limit=60", "seconds for a row"),
    ("weights=RUN_DIR", "the weights of a trained run instead of fresh ones"),
    ("autocast=bfloat16", "fields evaluated in bfloat16"),
    ("compare=false", "no gradient errors, which take a float64 backpropagation"),
    ("converged=1e-10", "also the error against the gradient at this tolerance"),
    ("measure.memory_budget=64MiB", "a row that needs more is out of memory"),
    ("measure.memory=profiler", "another meter; none: no metering"),
    ("device=cpu dtype=float64 threads=2", "where and how precisely"),
    ("name=NAME out=DIR", "name of the directory and where it is made"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return APP.main(argv)


def _run(config: Config, overrides: Sequence[str]) -> Outcome:
    return Outcome(bench(config, overrides).status)


APP = App(
    name="symadj-bench",
    purpose=PURPOSE,
    settings=SETTINGS,
    configuration=lambda overrides, extra=None, trusted=(): compose_bench(overrides, extra),
    run=_run,
    kind="bench",
)

if __name__ == "__main__":
    sys.exit(main())
