"""The log of a run, log.txt in its directory."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from symadj.files import open_file, unwritable

logger = logging.getLogger("symadj")

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


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
