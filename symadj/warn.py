"""Warnings that point at the user's own line."""

from __future__ import annotations

import sys
import warnings

# torch calls modules, backward passes and mapped functions on the way from the user's line to ours.
_PASSED_OVER = ("symadj", "torch")


def warn(message: str) -> None:
    """Issues a `UserWarning` for the innermost line that is neither symadj's nor torch's.

    A fixed `stacklevel` would be right for one way into the library only. Where all lines are
    theirs, as in a thread of the autograd engine, it is that of the outermost one.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _PASSED_OVER:
            break
        frame = frame.f_back
    warnings.warn_explicit(
        message,
        UserWarning,
        frame.f_code.co_filename,
        frame.f_lineno,
        module=frame.f_globals.get("__name__"),
        registry=frame.f_globals.setdefault("__warningregistry__", {}),
    )
