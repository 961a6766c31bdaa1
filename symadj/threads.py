"""How many threads torch's operations run on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def given_threads(count: int | None) -> Iterator[None]:
    """Gives torch so many threads for the block alone; None: those that it has."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
