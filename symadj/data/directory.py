"""Where downloaded archives and prepared arrays are kept."""

from __future__ import annotations

import os
from pathlib import Path

from symadj.errors import InputError

VARIABLE = "SYMADJ_DATA"
DEFAULT = "~/.cache/symadj"


def data_dir(override: str | Path | None = None) -> Path:
    """The directory of downloads and prepared data; it need not exist yet.

    Args:
        override: the directory to take; None or "": the environment variable SYMADJ_DATA, else
            ~/.cache/symadj.

    Raises:
        InputError: the path exists and is no directory, or has no home directory to start from.
    """
    source = "data_dir" if override else VARIABLE
    given = str(override or os.environ.get(VARIABLE) or DEFAULT)
    try:
        path = Path(given).expanduser().absolute()
    except RuntimeError as error:
        raise InputError(
            f"{given}: no home directory is known; set {VARIABLE} to a directory for data."
        ) from error
    if path.exists() and not path.is_dir():
        raise InputError(f"{source}={given}: is a file; give a directory for data.")
    return path
