"""What the commands that compose a configuration share: flags, sweeps.

Hydra composes the configurations (groups, overrides, experiments, its whole override grammar). Its
command-line front end is not used: it ends a sweep with the first job that fails, exits with 1
whatever is wrong, litters the working directory, and its parser does not start on Python 3.14.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import symadj
from symadj.cli.composing import composed_jobs, parted
from symadj.cli.help import help_text
from symadj.cli.ladder import FAILED, OK, add_trust, run_command
from symadj.cli.searching import run_search
from symadj.config import overrides as given
from symadj.config.compose import to_yaml
from symadj.config.schema import Config
from symadj.errors import InputError
from symadj.launch.job import Outcome
from symadj.launch.sweep import run_sweep
from symadj.run.allocator import keep_freed_memory
from symadj.run.ranks import is_rank
from symadj.terminal import complain, say


@dataclass(frozen=True)
class App:
    """A command.

    Attributes:
        name: as typed.
        purpose: what it does, for `--help`.
        settings: (override, what it does) pairs, for `--help`.
        configuration: (overrides, a further directory of configurations, modules that a run named
            by the overrides may name; the last two may be left out) -> the resolved configuration.
        run: (configuration, its overrides) -> how it ended.
        kind: of its jobs, for `symadj.launch.run.run_job`.
    """

    name: str
    purpose: str
    settings: Sequence[tuple[str, str]]
    configuration: Callable[..., Config]
    run: Callable[[Config, Sequence[str]], Outcome]
    kind: str

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command line and returns the exit status."""
        arguments = self._parser().parse_intermixed_args(argv)
        if arguments.cfg and "job" in arguments.overrides:  # Hydra's users type `--cfg job`
            arguments.overrides.remove("job")
        keep_freed_memory()
        return run_command(self.name, lambda: self._dispatch(arguments), argv)

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=self.name, add_help=False, allow_abbrev=False)
        parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE")
        parser.add_argument("-h", "--help", action="store_true")
        parser.add_argument("-m", "--multirun", action="store_true")
        parser.add_argument("--cfg", action="store_true")
        parser.add_argument("--config-dir", type=Path)
        add_trust(parser)
        parser.add_argument("--version", action="version", version=f"symadj {symadj.__version__}")
        return parser

    def _dispatch(self, arguments: argparse.Namespace) -> int:
        extra: Path | None = arguments.config_dir
        if extra is not None and not extra.is_dir():
            raise InputError(f"--config-dir {extra}: there is no such directory.")
        if arguments.help:
            usage = f"{self.name} [-m] [GROUP=OPTION ...] [NAME=VALUE ...]"
            say(help_text(usage, self.purpose, self.settings, extra))
            return OK
        if arguments.multirun:
            return self._sweep(arguments.overrides, extra)
        given.refuse_sweep(arguments.overrides, self.name)
        given.refuse_launcher(arguments.overrides)
        config = self.configuration(arguments.overrides, extra, arguments.trust)
        given.refuse_ignored(config, arguments.overrides)
        if arguments.cfg:
            say(to_yaml(config).rstrip())
            return OK
        kept, _ = parted(config)
        outcome = self.run(kept, arguments.overrides)
        if outcome.failed and outcome.message:
            complain(f"{self.name}: the run failed ({outcome.status}): {outcome.message}")
        return FAILED if outcome.failed else OK

    def _sweep(self, overrides: Sequence[str], extra: Path | None) -> int:
        if is_rank():
            raise InputError(
                "-m in the processes of torchrun, which are for one training. Start the sweep "
                "without it, with devices=N for its trainings."
            )
        if given.asks_for_search(overrides):
            return self._search(overrides, extra)
        # All jobs are composed before the first one runs: a typo costs no training.
        choices = given.expand(overrides)
        outcomes = run_sweep(
            *composed_jobs(choices, self.kind, lambda job: self.configuration(job, extra))
        )
        return FAILED if any(outcome.failed for outcome in outcomes) else OK

    def _search(self, overrides: Sequence[str], extra: Path | None) -> int:
        if self.kind != "train":
            raise InputError(f"search: {self.name} has nothing to search; symadj-train has.")
        return FAILED if run_search(overrides, self.configuration, extra) else OK
