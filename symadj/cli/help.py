"""The text of `--help`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from symadj.config.groups import GUIDE_GROUPS, description, group_options

FLAGS = (
    ("-m, --multirun", "a run for every combination of values: grad=aca,symplectic seed=0,1"),
    ("--cfg", "print the resolved configuration and run nothing"),
    ("--config-dir DIR", "a directory with further groups and options of your own"),
    ("--version", "print the version"),
    ("-h, --help", "print this"),
)


def help_text(
    usage: str, purpose: str, settings: Sequence[tuple[str, str]], extra: Path | None = None
) -> str:
    """Usage, purpose, the groups with their options, the most useful settings, the flags.

    Args:
        usage: the command line in short.
        purpose: what the command does, in a sentence or two.
        settings: (override, what it does) pairs.
        extra: a further directory of configurations.
    """
    parts = [f"usage: {usage}", purpose]
    groups = {k: v for k, v in group_options(extra).items() if k not in GUIDE_GROUPS}
    width = max(len(group) for group in groups)
    lines = [
        textwrap.fill(
            ", ".join(options),
            width=100,
            initial_indent=f"  {group:<{width}}  ",
            subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )
        for group, options in groups.items()
    ]
    parts.append("Groups (choose an option of each by GROUP=OPTION):\n" + "\n".join(lines))
    experiments = [
        (f"experiment={name}", text)
        for name in groups.get("experiment", [])
        if (text := description("experiment", name))
    ]
    parts.append("Settings (NAME=VALUE; --cfg shows them all):\n" + _table(settings))
    if experiments:
        parts.append("Ready-made experiments:\n" + _table(experiments))
    parts.append("Flags:\n" + _table(FLAGS))
    parts.append("Exit status: 0 done, 1 a run failed, 2 bad input, 130 interrupted (Ctrl-C).")
    return "\n\n".join(parts)


def _table(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(
        textwrap.fill(
            right,
            width=100,
            initial_indent=f"  {left:<{width}}  ",
            subsequent_indent=" " * (width + 4),
        )
        for left, right in rows
    )
