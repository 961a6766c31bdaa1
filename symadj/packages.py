"""Packages that symadj does without until they are asked for; each belongs to an extra."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

from symadj.errors import InputError


def need(package: str, extra: str, purpose: str) -> Any:
    """Imports a package.

    Args:
        package: its name.
        extra: the extra of symadj that brings it.
        purpose: what it does here, for the message: "reads ...".

    Raises:
        InputError: it is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(_missing(package, extra, purpose)) from error


def package_file(package: str, extra: str, *parts: str) -> Path:
    """A file that comes with a package, which is not imported for it.

    Args:
        package: its name.
        extra: the extra of symadj that brings it.
        parts: the file's path inside the package.

    Raises:
        InputError: the package is not installed, or has no such file.
    """
    file = find_file(package, *parts)
    if file is None:
        raise InputError(_missing(package, extra, "comes with the data"))
    if not file.is_file():
        raise InputError(
            f"the installed {package} has no file {'/'.join(parts)}; install the version that "
            f"symadj names: pip install 'symadj[{extra}]'"
        )
    return file


def find_file(package: str, *parts: str) -> Path | None:
    """Where a package's file would be; None: the package is not installed."""
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places)), *parts) if places else None


def _missing(package: str, extra: str, purpose: str) -> str:
    return (
        f"the package {package}, which {purpose}, is not installed. Install it by: "
        f"pip install 'symadj[{extra}]'"
    )
