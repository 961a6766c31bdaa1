"""`symadj-sample`: draws from a trained flow, as numbers and as a picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from symadj.cli.trained import LookApp, whole_number
from symadj.data.disk import make_directory
from symadj.errors import InputError
from symadj.figures.flow import sample_figure
from symadj.files import SAMPLES, remove_temporaries, subfolder, write_atomically
from symadj.memory import require_memory
from symadj.models.cnf import ContinuousFlow
from symadj.ranges import RANGES
from symadj.run.summary import solver_line
from symadj.run.trained import TrainedRun
from symadj.tasks.density import sample
from symadj.terminal import say

PURPOSE = """\
Draws samples from a trained flow: the normal variable is carried backward through it. Writes them
as an array [n, dim] in the space that the flow was trained in (standardised where the data were),
and beside the data in a picture."""

OPTIONS = {
    "n": ("64", "how many"),
    "seed": ("0", "of the normal variables"),
    "out": ("", "the array's file; default: RUN/samples/nN_seedS.npy, the picture beside it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return LookApp("symadj-sample", PURPOSE, OPTIONS, _sample).main(argv)


def _sample(run: TrainedRun, options: dict[str, str], _: Sequence[str]) -> None:
    n, seed = whole_number("n", options["n"], 1), whole_number("seed", options["seed"], 0)
    RANGES["seed"].check(seed, "seed")
    parts = run.parts
    if not hasattr(parts.model, "inverse"):
        raise InputError(
            f"{run.directory} trained a {type(parts.model).__name__}, which has no samples; "
            "symadj-sample draws from flows (task=density)."
        )
    flow = cast("ContinuousFlow", parts.model)
    require_memory(
        # The samples, once more joined, and as they are written.
        3 * parts.data.dim * n * getattr(torch, run.settings.dtype).itemsize,
        f"n={n}: the samples",
        "take fewer",
    )
    generator = torch.Generator(device=parts.device).manual_seed(seed)
    rows = run.settings.train.eval_batch_size
    drawn = torch.cat(
        [
            sample(flow, min(rows, n - done), parts.data.dim, parts.integrator, generator)
            for done in range(0, n, rows)
        ]
    ).cpu()
    path = Path(options["out"]) if options["out"] else _own_place(run, f"n{n}_seed{seed}.npy")
    if path.suffix != ".npy":
        raise InputError(f"out={path}; the samples are an array: give a name that ends in .npy.")
    make_directory(path.parent)
    write_atomically(path, lambda file: np.save(file, drawn.numpy()))
    picture = path.with_suffix(".png")
    figure = sample_figure(parts.data, drawn)
    write_atomically(picture, lambda file: figure.savefig(file, dpi=150, format="png"))
    say(f"{n} samples of {run.directory}, weights of iteration {run.iteration}")
    say(f"  solver  {solver_line(parts.integrator.solver)}")
    say(f"written: {path}, {picture}")


def _own_place(run: TrainedRun, name: str) -> Path:
    folder = subfolder(run.directory, SAMPLES)
    remove_temporaries(folder)
    return folder / name


if __name__ == "__main__":
    sys.exit(main())
