"""`symadj-eval`: the metrics of a trained run, for a stated solver and tolerance."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from symadj.cli.trained import LookApp, truth
from symadj.files import EVAL, remove_temporaries, subfolder, write_text
from symadj.records.environment import environment
from symadj.records.record import now
from symadj.run.summary import solver_line
from symadj.run.trained import TrainedRun
from symadj.terminal import say

PURPOSE = """\
Computes the metrics of a trained run on one split, by default the test's negative log-likelihood
with the exact trace, for a stated solver and tolerance; prints them and keeps them in RUN/eval."""

OPTIONS = {
    "split": ("test", "train, val or test"),
    "exact": ("true", "false: the model's own estimate of the trace"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return LookApp("symadj-eval", PURPOSE, OPTIONS, _evaluate).main(argv)


def _evaluate(run: TrainedRun, options: dict[str, str], _: Sequence[str]) -> None:
    split, exact = options["split"], truth("exact", options["exact"])
    metrics = run.evaluate(split, exact)
    solver = solver_line(run.parts.integrator.solver)
    stats = run.parts.integrator.take_stats().as_dict()
    say(f"{run.directory}: {split} split, weights of iteration {run.iteration}")
    say(f"  solver  {solver}, {stats['forward']:,} evaluations of the field")
    say(f"  trace   {'exact' if exact else 'estimate'}")
    for name, value in metrics.items():
        say(f"  {name}  {value:.6g}")
    folder = subfolder(run.directory, EVAL)
    remove_temporaries(folder)
    name = f"{split}_{solver}_{'exact' if exact else 'estimate'}"
    path = folder / f"{'_'.join(name.replace(',', '').split())}.json"
    report = {
        "split": split,
        "exact": exact,
        "solver": solver,
        "dtype": run.settings.dtype,
        "iteration": run.iteration,
        "metrics": metrics,
        "evaluations": stats["forward"],
        "trusted": list(run.trusted),
        "finished": now(),
        "environment": environment(run.parts.device),
    }
    write_text(path, json.dumps(report, indent=1) + "\n")
    say(f"written: {path}")


if __name__ == "__main__":
    sys.exit(main())
