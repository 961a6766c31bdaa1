"""What of a data set is on this machine, for `symadj-data list`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from symadj.data.prepared import is_prepared


@dataclass(frozen=True)
class State:
    """Whether a set can be used.

    Attributes:
        ready: it can.
        text: in words.
        size: bytes on disk; 0: nothing of its own.
        todo: the command that makes it ready; "" where nothing is to do.
    """

    ready: bool
    text: str
    size: int = 0
    todo: str = ""


def prepared_state(path: Path, otherwise: str, todo: str) -> State:
    """The state of a set that is kept in a directory: prepared, or else what is said here."""
    if is_prepared(path):
        return State(True, "prepared", directory_size(path))
    return State(False, otherwise, 0, todo)


def directory_size(path: Path) -> int:
    """The bytes of all files below a directory; 0 where there is none."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
