"""What is printed: on the terminal, whatever becomes of that."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Whatever moves the cursor, rings or recolours; half of a surrogate pair, which no stream takes.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def say(text: str) -> None:
    """Prints to standard output."""
    print(printable(text), flush=True)


def complain(text: str) -> None:
    """Prints to standard error."""
    print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text with its control characters, line breaks and tabs apart, as escapes: \\x1b."""
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextmanager
def tolerant_streams() -> Iterator[None]:
    """Within it nothing that is printed can fail: a reader that has gone (`| head -1`), a closed
    terminal, a stream that the shell closed (`2>&-`) or that lacks a letter."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Tolerant(before[0]), _Tolerant(before[1])
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Tolerant:
    """A text stream that drops what cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = _nowhere() if stream is None else stream

    def write(self, text: str) -> int:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        self._try(lambda: self._stream.write(shown))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except (OSError, ValueError):  # ValueError: closed in this process
            # The interpreter flushes what is left in the old stream when it ends, and so do the
            # libraries that write to the file descriptor.
            nowhere = _nowhere()
            with suppress(OSError, ValueError):
                os.dup2(nowhere.fileno(), self._stream.fileno())
            self._stream = nowhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")
