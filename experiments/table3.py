"""Table 3 of the paper: memory and time with Runge-Kutta methods of different order.

    python experiments/table3.py --preset cpu      measure what is missing, write results/table3
    python experiments/table3.py --dry-run         the commands and how long they take
    python experiments/table3.py --redraw          tables and figure from the saved records

The order p decides the number of steps N, the stages s the graph of a step: with Heun's method
checkpoints (N states) rule, with dop853 the graph of a step (s uses), which the symplectic adjoint
method does not keep.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from dataclasses import replace

from harness import Command, Drawn, Experiment, Preset, Results, Sheet, main
from harness.rows import ADJOINT_FULL, rows_setting
from symadj import SOLVERS
from symadj.report.bars import cost_bars
from symadj.report.tables import pivot

GRADS = ("adjoint", "backprop", "checkpoint", "aca", "symplectic", "symplectic_stages")
METHODS = ("heun", "bosh3", "dopri5", "dop853")
TIGHT = ("model.components=5", "solver.rtol=1e-6", "solver.atol=1e-8")
COST = ("memory", "time")
PARTS = ("steps", "memory.graph_bytes", "memory.checkpoints_bytes")
# About, of all rows on one thread, at batch 100.
SECONDS = {"heun": 800.0, "bosh3": 60.0, "dopri5": 45.0, "dop853": 45.0}
UNVERIFIED = (
    "Initial weights. Whether the paper's seconds and memory are those of initial weights or of a "
    "whole training: not verified."
)


def commands(repeats: int, *more: str) -> list[Command]:
    """A benchmark of the gradient methods for every solver; thousands of steps are timed once."""
    return [
        Command(
            "bench",
            (
                "experiment=gas_sized",
                f"solver={method}",
                f"grads=[{','.join(GRADS)}]",
                rows_setting(ADJOINT_FULL),
                f"repeats={1 if method == 'heun' else repeats}",
                "threads=1",
                "compare=false",
                "time_limit=null",
                *more,
            ),
            {"method": label(method)},
            SECONDS[method],
        )
        for method in METHODS
    ]


def label(method: str) -> str:
    """A method after its order, with the network uses of a step."""
    solver = SOLVERS[method]
    return f"p={solver.order} {method} (s={solver.uses})"


def paper(_: Namespace) -> Preset:
    """The paper's tolerances, components and batch."""
    return Preset(
        [replace(command, seconds=None) for command in commands(5, *TIGHT)],
        [
            "Synthetic mixture, 8-d, GAS's network (160-160-160 tanh, M = 5), batch 1,000, "
            "atol 1e-8, rtol 1e-6.",
            UNVERIFIED,
        ],
    )


def cpu(_: Namespace) -> Preset:
    """A tenth of the batch: Heun's method takes thousands of steps."""
    return Preset(
        commands(5, *TIGHT, "train.batch_size=100", "measure.memory_budget=6GiB"),
        [
            "Synthetic mixture, 8-d, GAS's network (160-160-160 tanh, M = 5), atol 1e-8, rtol "
            "1e-6, as in the paper. Reduced for two cores: batch 100 in place of 1,000; Heun's "
            "method is timed once, the others five times. A method that needs more than 6 GiB is "
            "out of memory.",
            UNVERIFIED,
        ],
    )


def smoke(_: Namespace) -> Preset:
    """Seconds: to see that it works."""
    loose = ("solver.rtol=1e-1", "solver.atol=1e-1")
    small = ("model.hidden=[4]", "data.size=20", "train.batch_size=4")
    tiny = [replace(command, isolate=False, seconds=2.0) for command in commands(1, *loose, *small)]
    return Preset(tiny, ["A tiny network; no result."])


def report(results: Results) -> Drawn:
    """Memory and time in one table, where they come from in another, and bars."""
    cost, parts = (
        pivot(results.runs, ["grad"], ["method"], names, counts=False) for names in (COST, PARTS)
    )
    sheets = [
        Sheet("table3", cost, "Peak memory and time of one iteration"),
        Sheet(
            "parts",
            parts,
            "Accepted steps (an adjoint method's in both directions), graph and checkpoints",
            mark_best=False,
        ),
    ]
    bars = cost_bars(results.runs, ("grad",), ("method",), COST)
    return Drawn(sheets, {"table3": bars})


EXPERIMENT = Experiment(
    name="table3",
    purpose="Memory and time with solvers of different order.",
    presets={"paper": paper, "cpu": cpu, "smoke": smoke},
    report=report,
)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
