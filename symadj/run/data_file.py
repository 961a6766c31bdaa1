"""The user's own data file: its size and checksum, so that a later look notices another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from symadj.data.base import Data
from symadj.data.disk import checksum
from symadj.errors import InputError
from symadj.records.record import RunRecord


def describe_file(data: Data) -> dict[str, Any]:
    """The `file` of a record's data: path, size in bytes, SHA-256; nothing where there is none."""
    path = data.file
    if path is None:
        return {}
    described = {"size": path.stat().st_size, "sha256": checksum(path, "sha256")}
    return {"file": {"path": str(path.absolute()), **described}}


def check_data_file(record: RunRecord, data: Data, directory: Path) -> None:
    """Raises `InputError` where the data come from another file than those of the run's training.

    Args:
        record: of the run.
        data: as they are now.
        directory: of the run, for the message.
    """
    then, now = record.data.get("file"), describe_file(data).get("file")
    if not isinstance(then, dict) or now is None:
        return
    if any(then.get(name) != now[name] for name in ("size", "sha256")):
        raise InputError(
            f"{now['path']} is not the file that {directory} was trained on: {now['size']:,} bytes "
            f"of SHA-256 {now['sha256'][:12]} here, {then.get('size')} bytes of "
            f"{str(then.get('sha256'))[:12]} then (in {then.get('path')}). Put the old file back, "
            "or give its place by data.path=FILE."
        )
