"""The command line of an experiment: run what is missing, then write tables and figures."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.command import Command, Preset
from harness.results import (
    FILE,
    Drawn,
    KeptCell,
    Left,
    Results,
    draw,
    former,
    save,
    seconds_taken,
)
from symadj.config.build import build
from symadj.config.compose import compose
from symadj.errors import InputError
from symadj.launch.index import Index, runs_of
from symadj.launch.job import Job
from symadj.launch.launcher import Launcher
from symadj.launch.sweep import ListedJobs, Sweep
from symadj.run.allocator import keep_freed_memory
from symadj.run.interrupt import Interrupted
from symadj.terminal import complain, say

OK, UNFINISHED, BAD_INPUT = 0, 1, 2
SAVE_EVERY = 300.0
"""Seconds from one writing of the records to the next, while commands run."""


@dataclass(frozen=True)
class Experiment:
    """A table or figure.

    Attributes:
        name: of the directory below results/.
        purpose: a line for `--help`.
        presets: by name, what makes one from the command line's arguments.
        report: records -> tables and figures.
        table: a file of each run that the figures need.
        arguments: adds arguments of its own to the command line.
    """

    name: str
    purpose: str
    presets: Mapping[str, Callable[[argparse.Namespace], Preset]]
    report: Callable[[Results], Drawn]
    table: str | None = None
    arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: every command has its result (a failure such as out of memory is one); 1: some have none;
    2: bad input; 130: Ctrl-C.
    """
    arguments = _parser(experiment).parse_intermixed_args(argv)
    keep_freed_memory()
    try:
        return Session(experiment, arguments).execute()
    except Interrupted as stop:
        complain("interrupted; the same command goes on from here")
        return stop.exit_status
    except KeyboardInterrupt:
        complain("interrupted; the same command goes on from here")
        return 130
    except InputError as error:
        complain(f"{experiment.name}: {error}")
        return BAD_INPUT


def common_parser(
    name: str, purpose: str, presets: Iterable[str], dry_run: str
) -> argparse.ArgumentParser:
    """The arguments that all experiments take.

    Args:
        name: of the experiment.
        purpose: a line for `--help`.
        presets: their names.
        dry_run: what `--dry-run` does.
    """
    parser = argparse.ArgumentParser(prog=f"{name}.py", description=purpose, allow_abbrev=False)
    parser.add_argument("--preset", choices=list(presets), default="cpu")
    parser.add_argument(
        "--out", type=Path, help="default: results/NAME, results/NAME-PRESET but for cpu"
    )
    parser.add_argument("--dry-run", action="store_true", help=dry_run)
    parser.add_argument("--redraw", action="store_true", help=f"from {FILE} alone")
    return parser


def usual_folder(name: str, preset: str) -> Path:
    """Where an experiment's results are unless it is told."""
    return Path("results") / (name if preset == "cpu" else f"{name}-{preset}")


def _parser(experiment: Experiment) -> argparse.ArgumentParser:
    parser = common_parser(
        experiment.name, experiment.purpose, experiment.presets, "print commands and time, run none"
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help=f"what {FILE} has counts as done, though its runs are gone: one folder of results can "
        "be made on several machines, all of them at one commit",
    )
    parser.add_argument(
        "launcher",
        nargs="*",
        metavar="launcher[.NAME]=VALUE",
        help="where commands run, as symadj-train -m takes it: launcher.workers=2, launcher=ray",
    )
    parser.add_argument(
        "--max-minutes",
        type=float,
        default=math.inf,
        help="start no command that would end later; one that nobody has timed while time is left",
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="TEXT",
        help="run only commands of this kind (train, bench), or with this in their name",
    )
    experiment.arguments(parser)
    return parser


@dataclass(frozen=True)
class _Planned:
    """A command with its job and what it has left so far."""

    command: Command
    job: Job
    left: Left


class Session:
    """One call of an experiment's command line."""

    def __init__(self, experiment: Experiment, arguments: argparse.Namespace) -> None:
        self.experiment = experiment
        self.arguments = arguments
        if wrong := [text for text in arguments.launcher if not text.startswith("launcher")]:
            raise InputError(f"{wrong[0]} is no setting of the launcher; see --help.")
        self.usual = usual_folder(experiment.name, arguments.preset)
        self.out: Path = arguments.out or self.usual
        self.runs = self.out / "runs"
        self.kept: dict[str, list[KeptCell]] = {}

    def execute(self) -> int:
        if self.arguments.redraw:
            self._draw()
            return OK
        preset = self.experiment.presets[self.arguments.preset](self.arguments)
        commands = [*preset.prepare, *preset.commands]
        only = self.arguments.only
        chosen = [command for command in commands if only == command.kind or only in command.slug]
        if not chosen:
            raise InputError(f"--only {only}: no command has this in its name or as its kind.")
        self._check(chosen)
        if self.arguments.keep:
            self.kept = former(self.out, self.arguments.preset)
        if self.arguments.dry_run:
            self._tell(chosen, preset)
            return OK
        self.lose_nothing([*preset.commands, *preset.shown])
        try:
            self._run(chosen, preset)
        finally:
            left = self._save(preset)
            if any(own.done for own in left):
                self._draw()
        missing = sum(not own.done for own in left)
        if missing:
            say(f"{missing} of {len(left)} commands are not done; the same command runs them.")
        return UNFINISHED if missing else OK

    def _save(self, preset: Preset) -> list[Left]:
        """Writes down what there is; what the preset's commands have left."""
        left = [plan.left for plan in self._plans(preset.commands)]
        if any(own.done for own in left):
            more = [plan.left for plan in self._plans(preset.shown) if plan.left.done]
            table = self.experiment.table
            save(self.out, self.arguments.preset, preset.notes, [*left, *more], table)
        return left

    def lose_nothing(self, commands: Sequence[Command]) -> None:
        """Refuses to write over cells that no command would write again.

        Raises:
            InputError: there are such cells, measured at this commit.
        """
        try:
            there = self.kept if self.arguments.keep else former(self.out, self.arguments.preset)
        except InputError:
            return  # of another commit or preset: what is measured now takes their place
        # Where changes are not committed, nobody could say that the cells are of this code.
        cells = [
            cell
            for own in there.values()
            for cell, around in own
            if not str(around["commit"]).endswith("-dirty")
        ]
        if not cells:
            return
        written = [plan.left for plan in self._plans(commands) if plan.left.done]
        names = [(own.fingerprint, dict(own.command.labels)) for own in written]
        lost = [c for c in cells if (c.get("fingerprint"), c["labels"]) not in names]
        if lost:
            told = ", ".join(map(str, lost[0]["labels"].values()))
            raise InputError(
                f"{self.out / FILE} has {len(lost)} cells of this commit (the first: {told}) that "
                "would be lost. Take --keep, and the options that they were measured with; or "
                "another --out; or remove the file."
            )

    def _check(self, commands: Sequence[Command]) -> None:
        """Composes all commands, but for their seeds, before the first one runs.

        Raises:
            InputError: a setting that does not exist.
        """
        seen = set()
        for command in commands:
            kind = tuple(o for o in command.overrides if not o.startswith(("seed=", "data.seed=")))
            if kind not in seen:
                seen.add(kind)
                command.configuration(command.full_overrides(self.runs))

    def _plans(self, commands: Iterable[Command]) -> list[_Planned]:
        index = Index(self.runs)
        return [self._plan(command, index) for command in commands]

    def _plan(self, command: Command, index: Index) -> _Planned:
        weights = command.weights
        trained = None if weights is None else self._plan(weights, index).left.found
        job = index.known(command.job(self.runs, trained.directory if trained else None))
        fingerprint = command.fingerprint(self.runs)
        labels = dict(command.labels)
        kept = [own for own in self.kept.get(fingerprint, ()) if own[0]["labels"] == labels]
        if trained is not None and trained.failures:
            # There are no weights to measure: the failure is what this command has come to.
            return _Planned(command, job, Left(command, trained, fingerprint, kept))
        done = [run for run in runs_of(job) if run.done(job)]
        return _Planned(command, job, Left(command, done[-1] if done else None, fingerprint, kept))

    def _needed(self, plan: _Planned, chosen: Sequence[Command], preset: Preset) -> bool:
        """Whether a command is to be run.

        One that only others build on is not where all these are kept; a training whose record is
        kept is run again where its weights are gone and others need them.
        """
        if plan.left.found is not None or not self.arguments.keep:
            return not plan.left.done
        index = Index(self.runs)
        users = [c for c in preset.commands if c.weights == plan.command]
        waiting = [c for c in users if not self._plan(c, index).left.done]
        if plan.command in preset.prepare and users:
            return bool(waiting)
        if not plan.left.done:
            return True
        again = [c.slug for c in waiting if c in chosen]
        if again:
            say(f"{plan.command.slug}: kept, but its weights are gone: again, for {again[0]}")
        return bool(again)

    def _tell(self, commands: Sequence[Command], preset: Preset) -> None:
        took, total, known, unknown = self._took(), 0.0, 0, 0
        index = Index(self.runs)
        for number, command in enumerate(commands, start=1):
            overrides, done = command.full_overrides(self.runs), False
            if self.kept or self.runs.is_dir():
                plan = self._plan(command, index)
                overrides, done = plan.job.overrides, not self._needed(plan, commands, preset)
            seconds = took.get(command.slug, command.seconds)
            if not done:
                total += seconds or 0.0
                known, unknown = known + (seconds is not None), unknown + (seconds is None)
            told = "finished" if done else told_duration(seconds)
            say(f"# {number}/{len(commands)} {command.slug}: {told}")
            say(command.shown(overrides))
        for note in preset.notes:
            say(f"# {note}")
        say(f"# {_in_all(total, known, unknown)}; results in {self.out}")

    def _run(self, commands: Sequence[Command], preset: Preset) -> None:
        took, started = self._took(), time.monotonic()
        saved = started
        bound = 60.0 * self.arguments.max_minutes
        seconds = {c.slug: took.get(c.slug, c.seconds) or 0.0 for c in commands}

        def admit(job: Job) -> bool:
            nonlocal saved
            if time.monotonic() - saved > SAVE_EVERY:
                # A machine may be lost without a warning.
                self._save(preset)
                saved = time.monotonic()
            fits = time.monotonic() - started + seconds[job.label] <= bound
            if not fits:
                say(f"{job.label}: left for another time")
            return fits

        # What others take the weights of comes first.
        for needs_weights in (False, True):
            part = self._plans(c for c in commands if (c.weights is not None) is needs_weights)
            jobs = [plan.job for plan in part if self._needed(plan, commands, preset)]
            Sweep(ListedJobs(jobs), self._launcher(commands), admit).run()

    def _launcher(self, commands: Sequence[Command]) -> Launcher:
        given = self.arguments.launcher
        if not given and not any(command.isolate for command in commands):
            given = ["launcher=inline"]
        return build(compose("train", given)["launcher"], "launcher")

    def _draw(self) -> None:
        results = Results.load(self.out)
        draw(results, self.experiment.report(results), self.out)

    def _took(self) -> dict[str, float]:
        """Seconds of the commands by name, from records here, else from the committed results."""
        preset = self.arguments.preset
        return seconds_taken(self.usual, preset) | seconds_taken(self.out, preset)


def _in_all(total: float, known: int, unknown: int) -> str:
    """What is left to run: seconds of the commands that are timed, and the number of the others."""
    timed = f"{told_duration(total)} ({total:.0f} s)"
    if not unknown:
        return f"in all {timed}" if known else "nothing is left to run"
    untimed = f"{_commands(unknown)} that nobody has timed"
    return f"in all {timed} for {_commands(known)}, and {untimed}" if known else f"in all {untimed}"


def _commands(count: int) -> str:
    return f"{count} command{'s' * (count != 1)}"


def told_duration(seconds: float | None) -> str:
    """Seconds in words; None: nobody knows."""
    if seconds is None:
        return "time unknown"
    if seconds < 90:
        return f"about {max(1.0, seconds):.0f} s"
    if seconds < 5400:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h" if seconds < 172800 else f"about {seconds / 86400:.1f} d"
