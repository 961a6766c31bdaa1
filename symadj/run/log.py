"""log.txt: what a run did, with every warning and every traceback."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger("symadj")

_FORMAT = "%(asctime)s %(levelname)s %(message)s"


@contextmanager
def run_log(path: Path) -> Iterator[None]:
    """Sends symadj's log and all Python warnings of the block to the file; warnings stay visible.

    Only this run's messages go there: the handler is taken off again at the end, so the jobs of a
    sweep keep their logs apart.
    """
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter(_FORMAT))
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
            yield
        finally:
            logger.removeHandler(handler)
            handler.close()
            logger.setLevel(level)
            logger.propagate = propagate


def say(text: str) -> None:
    """Prints to standard output; a reader that has gone (`| head`) does not end the run."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Without this the interpreter's own flush at exit would fail again.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
