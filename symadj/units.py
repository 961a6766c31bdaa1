"""Bytes as people write and read them."""

from __future__ import annotations

import difflib
import math
import re

from symadj.errors import InputError

UNITS = {
    "B": 1,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}

_BY_LOWER = {unit.lower(): unit for unit in UNITS}
_SIZE = re.compile(r"([0-9]*\.?[0-9]+(?:e\+?[0-9]+)?|[0-9]+\.)\s*([a-z]*)", re.IGNORECASE)


def parse_bytes(size: int | str) -> int:
    """The number of bytes that a text such as "64MiB", "1.5 GB" or "4096" says.

    Args:
        size: a number with one of `UNITS`, in capitals or not; without a unit it is in bytes. A
            fraction of a byte is rounded down.

    Raises:
        InputError: no such size, an unknown unit, or a negative one.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        if size < 0:
            raise InputError(f"a size of {size} bytes; it must be at least 0.")
        return size
    match = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if match is None:
        raise InputError(
            f"{size!r} is no size in bytes; give a number and one of {', '.join(UNITS)}, as in "
            "64MiB, or a plain number of bytes."
        )
    number, name = float(match[1]), match[2]
    unit = _BY_LOWER.get(name.lower()) if name else "B"
    if unit is None:
        raise InputError(f"unknown unit {name!r} in the size {size!r}.{_near(name)}")
    if not math.isfinite(number):
        raise InputError(f"{size!r} is too large for a size in bytes.")
    return int(number * UNITS[unit])


def format_bytes(size: int) -> str:
    """A size for people to read, in three digits or so and a binary unit: 1.5 KiB, 64 MiB."""
    magnitude = float(abs(size))
    for unit in ("B", "KiB", "MiB", "GiB"):
        # From 1023.5 on, three digits and a half would print the next unit's 1.
        if magnitude < 1023.5 or unit == "GiB":
            break
        magnitude /= 1024
    sign = "-" if size < 0 else ""
    digits = max(0, 2 - len(str(int(magnitude))) + 1)
    number = f"{magnitude:.{digits}f}"
    return f"{sign}{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _near(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _BY_LOWER, n=1, cutoff=0.5)
    hint = f" Did you mean '{_BY_LOWER[near[0]]}'?" if near else ""
    return f"{hint} Allowed: {', '.join(UNITS)}."
