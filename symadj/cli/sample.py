"""`symadj-sample`: draws from a trained flow, as numbers and as a picture."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from symadj.cli.trained import LookApp, number, whole_number
from symadj.data.disk import make_directory
from symadj.errors import InputError
from symadj.figures.flow import sample_figure
from symadj.files import SAMPLES, remove_temporaries, subfolder, write_atomically
from symadj.memory import require_memory
from symadj.ranges import RANGES
from symadj.run.summary import solver_line
from symadj.run.trained import TrainedRun
from symadj.tasks.density import normal
from symadj.terminal import say

PURPOSE = """\
Draws samples from a trained flow: the normal variable is carried to data by it. Writes them as an
array [n, dim] in the space that the flow was trained in (standardised where the data were), and
beside the data in a picture."""

DEFAULT, PER_CLASS = 64, 10

OPTIONS = {
    "n": ("", f"how many; default: {DEFAULT}, or {PER_CLASS} of each class"),
    "seed": ("0", "of the normal variables"),
    "class": ("", "of the samples, or none (task=flow_matching); default: all, a row for each"),
    "guidance": ("", "the strength of the class; default: task.guidance, as in training"),
    "out": ("", "the array's file; default: RUN/samples/nN_seedS.npy, the picture beside it"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    return LookApp("symadj-sample", PURPOSE, OPTIONS, _sample).main(argv)


def _sample(run: TrainedRun, options: dict[str, str], _: Sequence[str]) -> None:
    classes, seed = _classes(run), whole_number("seed", options["seed"], 0)
    usual = PER_CLASS * classes if classes and not options["class"] else DEFAULT
    n = whole_number("n", options["n"] or str(usual), 1)
    RANGES["seed"].check(seed, "seed")
    guidance = number("guidance", options["guidance"]) if options["guidance"] else None
    if guidance is not None:
        RANGES["task.guidance"].check(guidance, "guidance")
    labels = _labels(options["class"], n, classes)
    parts = run.parts
    require_memory(
        # The samples, once more joined, and as they are written.
        3 * parts.data.dim * n * getattr(torch, run.settings.dtype).itemsize,
        f"n={n}: the samples",
        "take fewer",
    )
    drawn = _drawn(run, n, seed, labels, guidance)
    name = f"n{n}_seed{seed}" + "".join(
        f"_{given}{options[given]}" for given in ("class", "guidance") if options[given]
    )
    path = Path(options["out"]) if options["out"] else _own_place(run, f"{name}.npy")
    if path.suffix != ".npy":
        raise InputError(f"out={path}; the samples are an array: give a name that ends in .npy.")
    make_directory(path.parent)
    write_atomically(path, lambda file: np.save(file, drawn.numpy()))
    picture = path.with_suffix(".png")
    figure = sample_figure(parts.data, drawn, labels)
    write_atomically(picture, lambda file: figure.savefig(file, dpi=150, format="png"))
    say(f"{n} samples of {run.directory}, weights of iteration {run.iteration}")
    evaluations = parts.integrator.take_stats().forward
    say(f"  solver  {solver_line(parts.integrator.solver)}, {evaluations:,} evaluations")
    say(f"written: {path}, {picture}")


def _classes(run: TrainedRun) -> int:
    """The classes that the model was trained with; 0: none."""
    return int(getattr(run.parts.model, "classes", 0))


def _labels(asked: str, n: int, classes: int) -> torch.Tensor | None:
    """The class of each of n samples, in order: the one that is asked for, or all alike often."""
    if asked == "none" or not (asked or classes):
        return None
    if asked:
        return torch.full((n,), whole_number("class", asked, 0))
    return torch.arange(n) * classes // n


def _drawn(
    run: TrainedRun, n: int, seed: int, labels: torch.Tensor | None, guidance: float | None
) -> torch.Tensor:
    """The samples [n, dim], from normal variables that the seed alone decides."""
    parts = run.parts
    generator = torch.Generator(device=parts.device).manual_seed(seed)
    like = next(parts.model.parameters())
    samples = []
    for rows in torch.arange(n).split(run.settings.train.eval_batch_size):
        z = normal(len(rows), parts.data.dim, like, generator)
        own = None if labels is None else labels[rows]
        try:
            samples.append(parts.task.sample(parts.model, z, parts.integrator, own, guidance))
        except InputError as error:
            raise InputError(f"{run.directory}: {error}") from error
    return torch.cat(samples).cpu()


def _own_place(run: TrainedRun, name: str) -> Path:
    folder = subfolder(run.directory, SAMPLES)
    remove_temporaries(folder)
    return folder / name


if __name__ == "__main__":
    sys.exit(main())
