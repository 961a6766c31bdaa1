"""Random numbers: one seed for all generators, and their states for a checkpoint."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's generators (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  user code may use the global generator
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The states of all global generators, of types that `torch.load(weights_only=True)` takes."""
    _, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "numpy": [
            torch.from_numpy(np.asarray(keys, dtype=np.int64)),
            int(position),
            int(has_gauss),
            float(cached),
        ],
        "python": [version, list(internal), gauss],
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Puts all global generators where `random_state` found them."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        here = state["cuda"][: torch.cuda.device_count()]  # another machine may have had more GPUs
        torch.cuda.set_rng_state_all([s.cpu() for s in here])
    keys, position, has_gauss, cached = state["numpy"]
    words = keys.cpu().numpy().astype(np.uint32)
    np.random.set_state(("MT19937", words, position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Runs the block on freshly seeded generators and then restores the former states.

    What happens inside (a validation, say) sees the same noise every time and leaves the stream
    of the training untouched.
    """
    state = random_state()
    seed_everything(seed)
    try:
        yield
    finally:
        restore_random_state(state)
