"""A run's model with the weights that its training chose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from symadj.errors import InputError
from symadj.run.checkpoint import load_tensors
from symadj.run.configs import resolved, run_settings
from symadj.run.files import BEST, CHECKPOINT
from symadj.run.parts import Parts, build_parts
from symadj.run.resume import saved_config, with_named
from symadj.run.settings import RunSettings

MAY_CHANGE = ("solver", "device", "dtype", "threads", "data.data_dir", "data.path")
"""What a look at a trained run may set anew; all else made the model what it is."""

SPLITS = ("train", "val", "test")


@dataclass
class TrainedRun:
    """A finished or cut-off run, ready to be looked at.

    Attributes:
        directory: of the run.
        settings: its own, with what was set anew.
        parts: its objects; the model has the weights of the best validation, or the last ones where
            no validation was made, and is in evaluation mode.
        iteration: the training iteration that the weights are from.
    """

    directory: Path
    settings: RunSettings
    parts: Parts
    iteration: int

    def evaluate(self, split: str = "test", exact: bool = True) -> dict[str, float]:
        """The task's metrics on a split.

        Args:
            split: "train", "val" or "test".
            exact: whether a trace is exact or the model's own estimate, with the noise of the
                run's seed.

        Raises:
            InputError: an unknown split.
            SolveError: the solver does not get through.
        """
        if split not in SPLITS:
            raise InputError(f"split={split!r}; allowed: {', '.join(SPLITS)}.")
        return self.parts.evaluate(getattr(self.parts.data, split), self.settings, exact)


def load_trained(
    directory: Path, composed: DictConfig | None = None, keys: Iterable[str] = ()
) -> TrainedRun:
    """Makes the objects of a run and gives its model the trained weights.

    Args:
        directory: of the run.
        composed: a configuration to take the settings named in `keys` from.
        keys: their dotted names, each at or below one of `MAY_CHANGE`.

    Raises:
        InputError: no run there, damaged files, weights that do not fit, or a setting that must
            stay as it was in training.
    """
    saved = saved_config(directory)
    keys = list(keys)
    for key in keys:
        if not any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE):
            raise InputError(
                f"{key} belongs to the training of {directory}; to be set anew here: "
                f"{', '.join(MAY_CHANGE)}."
            )
    config = resolved(saved if composed is None else with_named(saved, composed, keys))
    settings = run_settings(config)
    parts = build_parts(config, settings)
    iteration, weights = _weights(directory)
    try:
        parts.model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the weights in {directory} do not fit its model ({reason}).") from error
    parts.model.eval()
    return TrainedRun(directory, settings, parts, iteration)


def _weights(directory: Path) -> tuple[int, dict[str, torch.Tensor]]:
    """The iteration and the state dict of the best validation, else of the last checkpoint."""
    best = directory / BEST
    path = best if best.is_file() else directory / CHECKPOINT
    state: dict[str, Any] = load_tensors(path)
    try:
        iteration = state["iteration"] if path is best else state["progress"]["iteration"]
        return int(iteration), state["model"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no whole checkpoint: {error} is missing.") from error
