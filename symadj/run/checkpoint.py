"""The checkpoint of a training: everything needed to go on as if nothing had happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from symadj.errors import InputError
from symadj.run.files import write_atomically

SCHEMA = 1
_KEYS = {
    *("schema", "progress", "timings", "memory", "model", "average", "optimizer", "scheduler"),
    *("random", "batches", "best"),
}


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes tensors, numbers, texts, lists and dicts of such; the old file stays until then."""
    write_atomically(path, lambda file: torch.save({"schema": SCHEMA, **state}, file))


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Reads a training checkpoint; executes nothing that stands in the file.

    Raises:
        InputError: not there, not readable, or not a checkpoint of this version.
    """
    state = load_tensors(path)
    if state.get("schema") != SCHEMA:
        raise InputError(f"{path}: checkpoint of schema {state.get('schema')!r}; needed is 1.")
    if missing := sorted(_KEYS - state.keys()):
        raise InputError(f"{path} is not a whole checkpoint: {', '.join(missing)} missing.")
    return state


def load_tensors(path: Path) -> dict[str, Any]:
    """Reads a file of tensors and plain values onto the CPU, with `weights_only=True`.

    Raises:
        InputError: not there, not readable, or something else than a dict.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # On a torn file torch's reader fails in many ways, IndexError and KeyError among them.
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path} cannot be read as a checkpoint ({reason}).") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} is no checkpoint: it holds a {type(state).__name__}.")
    return state
