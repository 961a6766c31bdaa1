"""What the commands that look at a trained run share: their arguments and how they load it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import symadj
from symadj.cli.ladder import OK, add_trust, run_command
from symadj.config.compose import run_settings
from symadj.config.saved import looked_at_config
from symadj.config.schema import SET_ANEW
from symadj.errors import InputError, suggest
from symadj.run.trained import TrainedRun, load_trained
from symadj.threads import given_threads

ANEW_HELP = f"""\
{", ".join(SET_ANEW)}
may be set anew by NAME=VALUE (solver=dop853, solver.rtol=1e-7); all else is as in training"""


@dataclass(frozen=True)
class LookApp:
    """A command that looks at a trained run: `NAME RUN [OPTION=VALUE ...]`.

    Attributes:
        name: as typed.
        purpose: for `--help`.
        options: the command's own, by name: (default, what it is).
        run: (trained run, the options' values) -> nothing; prints what it did.
    """

    name: str
    purpose: str
    options: dict[str, tuple[str, str]]
    run: Callable[[TrainedRun, dict[str, str]], None]

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command line and returns the exit status."""
        arguments = self._parser().parse_intermixed_args(argv)
        return run_command(self.name, lambda: self._look(arguments), argv)

    def _look(self, arguments: argparse.Namespace) -> int:
        values, overrides = self._split(arguments.settings)
        directory, trusted = Path(arguments.directory), arguments.trust
        config = looked_at_config(directory, overrides, trusted)
        with given_threads(run_settings(config).threads):
            trained = load_trained(directory, config, trusted)
            with torch.no_grad():
                self.run(trained, values)
        return OK

    def _parser(self) -> argparse.ArgumentParser:
        lines = [f"  {name}={default or '...'}   {text}" for name, (default, text) in
                 self.options.items()]  # fmt: skip
        parser = argparse.ArgumentParser(
            prog=self.name,
            description=self.purpose,
            epilog="\n".join(["options:", *lines, "", ANEW_HELP]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("directory", metavar="RUN", help="the directory of a run")
        parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
        add_trust(parser)
        parser.add_argument("--version", action="version", version=f"symadj {symadj.__version__}")
        return parser

    def _split(self, settings: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        """The values of the command's own options, and the overrides of the run's settings."""
        values = {name: default for name, (default, _) in self.options.items()}
        overrides = []
        for setting in settings:
            name, equals, value = setting.partition("=")
            if equals and name in values:
                values[name] = value
            elif equals:
                overrides.append(setting)
            else:
                raise InputError(f"{setting}: NAME=VALUE is needed.{suggest(name, values)}")
        return values, overrides


def whole_number(name: str, value: str, low: int) -> int:
    """An option's value as a whole number of at least `low`.

    Raises:
        InputError: it is none.
    """
    try:
        number = int(value)
    except ValueError:
        number = low - 1
    if number < low:
        raise InputError(f"{name}={value}; it must be a whole number of at least {low}.")
    return number


def number(name: str, value: str) -> float:
    """An option's value as a number.

    Raises:
        InputError: it is none.
    """
    try:
        return float(value)
    except ValueError:
        raise InputError(f"{name}={value}; it must be a number.") from None


def truth(name: str, value: str) -> bool:
    """An option's value as true or false.

    Raises:
        InputError: it is neither.
    """
    if value.lower() not in ("true", "false"):
        raise InputError(f"{name}={value}; it must be true or false.")
    return value.lower() == "true"
