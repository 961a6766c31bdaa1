"""How every command ends: its errors as messages and exit statuses, its signals, its streams."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from symadj.errors import InputError, SymadjError
from symadj.run.interrupt import Interrupted, InterruptGuard
from symadj.terminal import complain, tolerant_streams

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def run_command(
    name: str,
    body: Callable[[], int],
    argv: Sequence[str] | None,
    interrupted: str = "",
) -> int:
    """Runs the body of a command and returns its exit status.

    Args:
        name: of the command, before its messages.
        body: what it does.
        argv: the command line that it was called with; None: the process is the command, and ends
            with it.
        interrupted: what to say of an interrupt besides its signal.
    """
    with tolerant_streams(), InterruptGuard(to_the_end=argv is None):
        try:
            return body()
        except KeyboardInterrupt as stop:
            said = str(stop) if isinstance(stop, Interrupted) else "interrupted"
            complain(f"{name}: {said}{interrupted and '; '}{interrupted}")
            return stop.exit_status if isinstance(stop, Interrupted) else INTERRUPTED
        except InputError as error:
            complain(f"{name}: {error}")
            return BAD_INPUT
        except SymadjError as error:
            complain(f"{name}: {error}")
            return FAILED


def add_trust(parser: argparse.ArgumentParser) -> None:
    """The flag of commands that take what a run's own configuration names."""
    parser.add_argument(
        "--trust",
        metavar="MODULE",
        action="append",
        default=[],
        help="a module besides symadj whose code the run may name (docs/security.md)",
    )
