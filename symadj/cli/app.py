"""What the commands share: flags, messages, exit statuses, sweeps.

Hydra composes the configurations (groups, overrides, experiments, its whole override grammar). Its
command-line front end is not used: it ends a sweep with the first job that fails, exits with 1
whatever is wrong, litters the working directory, and its parser does not start on Python 3.14.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

import symadj
from symadj.cli import overrides as given
from symadj.cli.explain import COMPOSITION_ERRORS, explain
from symadj.cli.help import help_text
from symadj.errors import InputError, SymadjError
from symadj.run.allocator import keep_freed_memory
from symadj.run.configs import compose, resolved
from symadj.run.interrupt import Interrupted
from symadj.run.log import say
from symadj.run.sweep import Job, Outcome, run_sweep

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True)
class App:
    """A command.

    Attributes:
        name: as typed.
        config_name: its main configuration file.
        purpose: what it does, for `--help`.
        settings: (override, what it does) pairs, for `--help`.
        prepare: (composed configuration, its overrides) -> the configuration to run.
        run: (configuration, its overrides) -> status of the record.
        attempt: one job of a sweep; None: `run`, in this process.
    """

    name: str
    config_name: str
    purpose: str
    settings: Sequence[tuple[str, str]]
    prepare: Callable[[DictConfig, Sequence[str]], DictConfig]
    run: Callable[[DictConfig, Sequence[str]], str]
    attempt: Callable[[Job], Outcome] | None = None

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command line and returns the exit status."""
        arguments = self._parser().parse_intermixed_args(argv)
        if arguments.cfg and "job" in arguments.overrides:  # Hydra's users type `--cfg job`
            arguments.overrides.remove("job")
        keep_freed_memory()
        try:
            return self._dispatch(arguments)
        except Interrupted as stop:
            return self._fail(str(stop), stop.exit_status)
        except KeyboardInterrupt:
            return self._fail("interrupted", INTERRUPTED)
        except InputError as error:
            return self._fail(str(error), BAD_INPUT)
        except SymadjError as error:
            return self._fail(str(error), FAILED)

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=self.name, add_help=False, allow_abbrev=False)
        parser.add_argument("overrides", nargs="*", metavar="NAME=VALUE")
        parser.add_argument("-h", "--help", action="store_true")
        parser.add_argument("-m", "--multirun", action="store_true")
        parser.add_argument("--cfg", action="store_true")
        parser.add_argument("--config-dir", type=Path)
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
        config = self.configuration(arguments.overrides, extra)
        if arguments.cfg:
            say(OmegaConf.to_yaml(config).rstrip())
            return OK
        return OK if self.run(config, arguments.overrides) == "ok" else FAILED

    def configuration(self, overrides: Sequence[str], extra: Path | None = None) -> DictConfig:
        """The resolved configuration of one job.

        Raises:
            InputError: overrides that cannot be composed, explained.
        """
        given.refuse_wrong_choices(overrides, extra)
        try:
            composed = compose(self.config_name, overrides, extra)
            return resolved(self.prepared(composed, overrides, extra))
        except COMPOSITION_ERRORS as error:
            raise InputError(explain(error, self.config_name, overrides, extra)) from error

    def prepared(
        self, config: DictConfig, overrides: Sequence[str], extra: Path | None
    ) -> DictConfig:
        """A composed configuration as it is used, its interpolations still in it."""
        return self.prepare(config, overrides)

    def _sweep(self, overrides: Sequence[str], extra: Path | None) -> int:
        # All jobs are composed before the first one runs: a typo costs no training.
        jobs = [Job(job, self.configuration(job, extra)) for job in given.expand(overrides)]
        outcomes = run_sweep(jobs, self.attempt or self._run_here)
        return OK if all(outcome.status == "ok" for outcome in outcomes) else FAILED

    def _run_here(self, job: Job) -> Outcome:
        return Outcome(self.run(job.config, job.overrides))

    def _fail(self, message: str, status: int) -> int:
        print(f"{self.name}: {message}", file=sys.stderr, flush=True)
        return status
