"""A checkout whose commands only say that they ran, so that the scripts take no time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SAYS = """import pathlib, sys
with pathlib.Path("calls").open("a") as calls:
    print({name!r}, *sys.argv[1:], file=calls)
"""
LEAVES = """
named = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
folder = pathlib.Path(named["out"], named["name"]) if "out" in named else None
"""


class Checkout:
    """A directory with the scripts and stand-ins for what they call.

    Args:
        path: an empty directory.

    Attributes:
        calls: what was run, a line for each command.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        shutil.copytree(ROOT / "scripts", path / "scripts")
        self.write("symadj/__init__.py", "")
        self.write("symadj/cli/__init__.py", "")

    @property
    def calls(self) -> list[str]:
        file = self.path / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def write(self, name: str, text: str) -> None:
        """A file of the checkout."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def command(self, name: str, more: str = "") -> None:
        """A command that notes its call; `more` is what else it does."""
        self.write(name, SAYS.format(name=Path(name).stem) + LEAVES + more)

    def commit(self) -> None:
        """All of it is in git."""
        self.write(".gitignore", "calls\nresults/runs\n__pycache__\n")
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        for words in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "all")):
            subprocess.run(["git", *words], cwd=self.path, check=True)

    def head(self) -> str:
        """The commit, as records name it."""
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        done = subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A script of scripts/, with this Python."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        # What is above the checkout is none of its own.
        environment |= {"PYTHON": sys.executable, "GIT_CEILING_DIRECTORIES": str(self.path.parent)}
        return subprocess.run(
            [self.path / "scripts" / script, *arguments],
            cwd=self.path.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
