"""The C library's allocator, told to keep what is freed."""

from __future__ import annotations

import ctypes

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEPT, _LARGEST = 1 << 30, 1 << 28


def keep_freed_memory() -> bool:
    """Makes this process keep up to 1 GiB of freed memory for its next arrays.

    By default glibc hands large blocks back to the system at once, so that every activation of a
    solve costs its page faults anew (up to half of a stage's time, by luck of where the heap ends).
    Counts of live bytes are not changed by it.

    Returns:
        Whether the C library took the settings; False where it is not glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))
