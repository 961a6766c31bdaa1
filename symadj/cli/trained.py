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
from symadj.config.groups import description, group_options
from symadj.config.saved import looked_at_config
from symadj.config.schema import SET_ANEW
from symadj.errors import InputError, suggest
from symadj.run.trained import TrainedRun, load_trained
from symadj.threads import given_threads

ANEW_HELP = """\
{names}
may be set anew by NAME=VALUE (solver=dop853, solver.rtol=1e-7); all else is as in training"""


@dataclass(frozen=True)
class LookApp:
    """A command that looks at a trained run: `NAME RUN [OPTION=VALUE ...]`.

    Attributes:
        name: as typed.
        purpose: for `--help`.
        options: the command's own, by name: (default, what it is).
        run: (trained run, the options' values, the overrides of its groups) -> nothing; prints what
            it did.
        groups: of configurations that are the command's own.
        anew: settings of the run that may be set anew.
    """

    name: str
    purpose: str
    options: dict[str, tuple[str, str]]
    run: Callable[[TrainedRun, dict[str, str], Sequence[str]], None]
    groups: tuple[str, ...] = ()
    anew: tuple[str, ...] = SET_ANEW

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Runs the command line and returns the exit status."""
        arguments = self._parser().parse_intermixed_args(argv)
        return run_command(self.name, lambda: self._look(arguments), argv)

    def _look(self, arguments: argparse.Namespace) -> int:
        values, own, overrides = self._split(arguments.settings)
        directory, trusted = Path(arguments.directory), arguments.trust
        config = looked_at_config(directory, overrides, trusted, self.anew)
        with given_threads(run_settings(config).threads):
            trained = load_trained(directory, config, trusted)
            with torch.no_grad():
                self.run(trained, values, own)
        return OK

    def _parser(self) -> argparse.ArgumentParser:
        lines = ["options:"]
        lines += [f"  {n}={d or '...'}   {text}" for n, (d, text) in self.options.items()]
        lines += ["", *self._group_lines(), ANEW_HELP.format(names=", ".join(self.anew))]
        parser = argparse.ArgumentParser(
            prog=self.name,
            description=self.purpose,
            epilog="\n".join(lines),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        parser.add_argument("directory", metavar="RUN", help="the directory of a run")
        parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
        add_trust(parser)
        parser.add_argument("--version", action="version", version=f"symadj {symadj.__version__}")
        return parser

    def _group_lines(self) -> list[str]:
        """What `--help` says of the command's own groups."""
        lines = []
        for group in self.groups:
            lines += [f"{group}=NAME (its settings: {group}.NAME=VALUE):"]
            lines += [f"  {o}: {description(group, o)}" for o in group_options()[group]]
            lines += [""]
        return lines

    def _split(self, settings: Sequence[str]) -> tuple[dict[str, str], list[str], list[str]]:
        """The values of the command's own options, the overrides of its own groups, and those of
        the run's settings."""
        values = {name: default for name, (default, _) in self.options.items()}
        own, overrides = [], []
        for setting in settings:
            name, equals, value = setting.partition("=")
            if equals and name in values:
                values[name] = value
            elif equals and name.partition(".")[0] in self.groups:
                own.append(setting)
            elif equals:
                overrides.append(setting)
            else:
                raise InputError(f"{setting}: NAME=VALUE is needed.{suggest(name, values)}")
        return values, own, overrides


def whole_number(name: str, value: str, low: int) -> int:
    """An option's value as a whole number of at least `low`.

    Raises:
        InputError: it is none, or has more than 64 bits.
    """
    try:
        number = int(value)
    except ValueError:
        number = low - 1
    if number >= 2**63:
        raise InputError(f"{name}={value}; it must be less than 2^63.")
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
