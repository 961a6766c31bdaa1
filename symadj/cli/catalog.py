"""The data sets that the configurations name, and what of them is on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from symadj.config.build import locate
from symadj.config.groups import group_options, option_settings
from symadj.data import bsds_images
from symadj.data.maf import archive
from symadj.data.state import State, directory_size
from symadj.errors import InputError, suggest
from symadj.units import format_bytes


def data_sets() -> dict[str, Callable[..., Any]]:
    """The class of every set in configs/data; none is instantiated."""
    found = {}
    for name in group_options().get("data", []):
        if target := option_settings("data", name).get("_target_"):
            found[name] = locate(target, f"data={name}")
    return found


def states(root: Path) -> list[tuple[str, State]]:
    """The archive and every set with its state; a set that says nothing of it is ready.

    Args:
        root: the data directory.
    """
    rows = [("MAF archive", archive_state(root))]
    for name, made_by in data_sets().items():
        state = getattr(made_by, "state", None)
        rows.append((name, State(True, "ready") if state is None else state(root)))
    return rows


def archive_state(root: Path) -> State:
    """Whether the MAF archive is there, or a part of it."""
    if archive.is_fetched(root):
        return State(True, "fetched", directory_size(archive.directory(root)))
    if size := directory_size(archive.download_path(root).parent):
        return State(False, "cut off", size, f"{archive.COMMAND}  (goes on)")
    return State(False, "not fetched (817 MB)", 0, archive.COMMAND)


def prepare(name: str, root: Path) -> Path | None:
    """Prepares a set, where that is anything to do.

    Args:
        name: an option of the group `data`.
        root: the data directory.

    Returns:
        The directory of the prepared set; None: it needs no preparation.

    Raises:
        InputError: no such set, or its raw data are not there.
    """
    sets = data_sets()
    if name not in sets:
        raise InputError(f"no data set {name!r}.{suggest(name, sets)}")
    if name == bsds_images.KEY:
        raise InputError(f"{name} is made from the photographs by: {bsds_images.COMMAND}")
    made_by = getattr(sets[name], "prepare", None)
    return None if made_by is None else made_by(root)


def table(root: Path) -> str:
    """The states as lines of text: name, state, size, what to do."""
    rows = [("NAME", "STATE", "SIZE", "TO GET IT")]
    for name, state in states(root):
        size = format_bytes(state.size) if state.size else ""
        rows.append((name, state.text, size, state.todo))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [
        f"{name:<{widths[0]}}  {text:<{widths[1]}}  {size:>{widths[2]}}  {todo}".rstrip()
        for name, text, size, todo in rows
    ]
    return "\n".join([f"data directory: {root}", "", *lines])
