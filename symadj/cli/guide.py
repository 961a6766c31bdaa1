"""`symadj-guide`: samples of a trained flow, steered by gradients through its solver."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from symadj.cli.trained import LookApp, number, truth, whole_number
from symadj.config.build import build, with_full_keys
from symadj.config.compose import compose
from symadj.config.groups import GUIDE_GROUPS, group_options
from symadj.config.saved import looked_at_config
from symadj.config.schema import SET_ANEW
from symadj.errors import InputError, suggest
from symadj.files import GUIDED, subfolder
from symadj.guide.run import Draw, Guiding
from symadj.ranges import RANGES
from symadj.records.record import RunRecord
from symadj.run.directory import make_run_directory
from symadj.run.summary import solver_line
from symadj.run.trained import TrainedRun, load_trained
from symadj.tasks.classify import Classification
from symadj.terminal import say
from symadj.units import format_bytes

PURPOSE = """\
Steers samples of a trained flow (task=flow_matching) to a goal, by gradients through the solve
that makes them of noise: exact ones, at the memory of one use of the network, by grad=symplectic.
Leaves the samples before and after, pictures, a history and a record in a directory of its own."""

OPTIONS = {
    "n": ("16", "samples, all at once"),
    "seed": ("0", "of their noise"),
    "class": ("", "that they are drawn under; default: none"),
    "guidance": ("", "strength of the class; default: the task's own"),
    "figures": ("true", "false: no pictures"),
    "out": ("", "the directory to make; default: RUN/guided/GOAL_WAY_GRAD_nN_seedS"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    anew = (*SET_ANEW, "grad")
    return LookApp("symadj-guide", PURPOSE, OPTIONS, _guide, GUIDE_GROUPS, anew).main(argv)


def _guide(run: TrainedRun, options: dict[str, str], overrides: Sequence[str]) -> None:
    if not any(o.startswith("goal=") for o in overrides):
        raise InputError(f"goal=NAME must be given.{suggest('', group_options()['goal'])}")
    asked = {name: compose("guide", overrides)[name] for name in GUIDE_GROUPS}
    goal, way = (build(asked[name], name) for name in GUIDE_GROUPS)
    draw = _draw(run, options)

    def classifier(path: str, setting: str) -> nn.Module:
        return _classifier(run, Path(path), setting)

    try:
        guiding = Guiding(run, goal, way, draw, classifier)
    except InputError as error:
        message = str(error)
        for name in GUIDE_GROUPS:
            message = with_full_keys(message, name, asked[name])
        error.args = (message,)
        raise
    grad = run.parts.integrator.gradient.name
    directory = _directory(run, options["out"], f"{_name(overrides, draw)}_{grad}", draw)
    parts = run.parts
    say(f"{run.directory}, weights of iteration {run.iteration}")
    say(f"  goal      {goal.description}")
    say(f"  way       {asked['way']['_target_'].rpartition('.')[2].lower()}, {guiding.uses} "
        f"gradients for each of {draw.n} samples, by {grad}")  # fmt: skip
    say(f"  solver    {solver_line(parts.integrator.solver)}")
    record = guiding.execute(directory, run.config, asked | {"guide": vars(draw)})
    _tell(record, directory)


def _draw(run: TrainedRun, options: dict[str, str]) -> Draw:
    seed = whole_number("seed", options["seed"], 0)
    RANGES["seed"].check(seed, "seed")
    label = whole_number("class", options["class"], 0) if options["class"] else None
    guidance = 1.0 if label is None else getattr(run.parts.task, "guidance", 1.0)
    if options["guidance"]:
        guidance = number("guidance", options["guidance"])
    n, figures = whole_number("n", options["n"], 1), truth("figures", options["figures"])
    return Draw(n, seed, label, guidance, figures)


def _classifier(run: TrainedRun, path: Path, setting: str) -> nn.Module:
    """The network of a run of task=classify, on the device and in the dtype of the guided run."""
    settings = run.settings
    overrides = [f"device={settings.device}", f"dtype={settings.dtype}"]
    try:
        config = looked_at_config(path, overrides, run.trusted)
    except InputError as error:
        raise InputError(f"{setting}={error}") from error
    if config["data"] != run.config["data"]:
        raise InputError(
            f"{setting}={path} was trained on other data, or on the same with other settings, than "
            f"{run.directory}. Train a classifier with the same data settings."
        )
    found = load_trained(path, config, run.trusted)
    if not isinstance(found.parts.task, Classification):
        raise InputError(
            f"{setting}={path} is a run of {type(found.parts.task).__name__}, which is no "
            "classifier; train one by task=classify."
        )
    return found.parts.model


def _name(overrides: Sequence[str], draw: Draw) -> str:
    goal, way = (
        next((o.partition("=")[2] for o in reversed(overrides) if o.startswith(f"{g}=")), default)
        for g, default in (("goal", ""), ("way", "source"))
    )
    return f"{goal}_{way}"


def _directory(run: TrainedRun, out: str, name: str, draw: Draw) -> Path:
    """A new directory, in the run's own folder unless a place is given."""
    if out:
        return make_run_directory(Path(out).parent, Path(out).name)
    folder = subfolder(run.directory, GUIDED)
    return make_run_directory(folder, f"{name}_n{draw.n}_seed{draw.seed}")


def _tell(record: RunRecord, directory: Path) -> None:
    names = dict.fromkeys(name.rpartition("/")[0] for name in record.metrics)
    for name in names:
        before, after = (record.metrics[f"{name}/{when}"] for when in ("before", "after"))
        say(f"  {name:<9} {before:.4g} before, {after:.4g} after (mean)")
    counts = record.evaluations
    say(f"  cost      {counts['forward']:,} evaluations forward, {counts['recomputed']:,} again, "
        f"{counts['vjps']:,} pulled back, {record.seconds['total']:.3g} s")  # fmt: skip
    if record.memory is not None:
        say(f"  memory    {format_bytes(record.memory['peak_bytes'])} at the peak of a gradient")
    say(f"written: {directory}")


if __name__ == "__main__":
    sys.exit(main())
