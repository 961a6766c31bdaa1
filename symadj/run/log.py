"""What a run says: on the terminal, whatever becomes of that, and in its log.txt."""

from __future__ import annotations

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from symadj.run.files import open_file, unwritable

logger = logging.getLogger("symadj")

_FORMAT = "%(asctime)s %(levelname)s %(message)s"
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


class RunLog(logging.Handler):
    """The log of a run, kept in memory until there is a run to write it to.

    Args:
        path: of the file, which is appended to.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(_FORMAT))
        self._path = path
        self._waiting: list[str] = []
        self._file: IO[str] | None = None

    def begin(self) -> None:
        """From here on the log is on disk, what it has kept so far included.

        Raises:
            InputError: there is something of that name that is no regular file.
            StorageError: it cannot be written.
        """
        if self._file is None:
            try:
                self._file = open_file(self._path, "a", errors="backslashreplace")
            except OSError as error:
                raise unwritable(self._path, error) from error
            waiting, self._waiting = self._waiting, []
            for line in waiting:
                self._write(line)

    def emit(self, record: logging.LogRecord) -> None:
        """Takes in a message; a full disk does not end the run here."""
        self._write(self.format(record))

    def close(self) -> None:
        """Closes the file."""
        super().close()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _write(self, line: str) -> None:
        if self._file is None:
            self._waiting.append(line)
            return
        with suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()


@contextmanager
def run_log(path: Path) -> Iterator[RunLog]:
    """Sends symadj's log and all Python warnings of the block to a log; warnings stay visible.

    Only this run's messages go there: the handler is taken off again at the end, so the jobs of a
    sweep keep their logs apart. Nothing is written before the log's `begin()`.
    """
    handler = RunLog(path)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_and_log(message, category, filename, lineno, file=None, line=None):
            logger.warning("%s: %s", category.__name__, message)
            show(message, category, filename, lineno, file, line)

        warnings.showwarning = show_and_log
        try:
            yield handler
        finally:
            logger.removeHandler(handler)
            handler.close()
            logger.setLevel(level)
            logger.propagate = propagate
