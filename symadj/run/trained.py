"""A run's model with the weights that its training chose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from symadj.config.compose import run_settings
from symadj.config.saved import saved_config
from symadj.config.schema import Config, RunSettings
from symadj.config.trust import check_trusted
from symadj.errors import InputError
from symadj.files import BEST, CHECKPOINT, RECORD
from symadj.records.record import RunRecord
from symadj.run.average import Average
from symadj.run.checkpoint import load_tensors
from symadj.run.data_file import check_data_file
from symadj.run.parts import Parts, build_parts
from symadj.terminal import complain

SPLITS = ("train", "val", "test")


@dataclass
class TrainedRun:
    """A finished or cut-off run, ready to be looked at.

    Attributes:
        directory: of the run.
        settings: its own, with what was set anew.
        parts: its objects; the model has the weights of the best validation, or the last ones after
            `train.choose=last` or where no validation was made (their average where the run keeps
            one), and is in evaluation mode.
        iteration: the training iteration that the weights are from.
        config: that the objects were made from.
        trusted: modules besides symadj that it was allowed to name.
    """

    directory: Path
    settings: RunSettings
    parts: Parts
    iteration: int
    config: Config
    trusted: Sequence[str] = ()

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
        if hasattr(self.parts.task, "exact_test"):
            self.parts.task.exact_test = exact  # type: ignore[attr-defined]
        return self.parts.evaluate(split, self.settings, test=True)


def load_trained(
    directory: Path, config: Config | None = None, trusted: Sequence[str] = ()
) -> TrainedRun:
    """Makes the objects of a run and gives its model the trained weights.

    Args:
        directory: of the run.
        config: its configuration with some settings anew (`symadj.config.saved.looked_at_config`);
            None: its own as it is. What a given configuration names is made; what the run's own
            names has to be symadj's.
        trusted: further modules that the run's own configuration may name.

    Raises:
        InputError: no run there, damaged files, a data file that has changed, weights that do not
            fit, or a configuration that names code from elsewhere.
    """
    if config is None:
        config = saved_config(directory)
        check_trusted(config, directory, trusted=trusted)
    settings = run_settings(config)
    parts = build_parts(config, settings)
    if (directory / RECORD).exists():
        check_data_file(RunRecord.load(directory / RECORD), parts.data, directory)
    iteration = load_weights(parts.model, directory)
    parts.model.eval()
    return TrainedRun(directory, settings, parts, iteration, config, trusted)


def load_weights(model: nn.Module, path: Path) -> int:
    """Gives a model the weights that a run's training chose.

    They are those of the best validation so far, which the checkpoint holds while a run is under
    way and best.pt after it, or the last ones once it has ended with `train.choose=last`; before
    any validation, the last ones, or their average where the run keeps one.

    Args:
        model: of the run's own architecture.
        path: a run's directory, or one of the two files.

    Returns:
        The training iteration that they are from.

    Raises:
        InputError: no weights there, damaged files, or the weights of another model.
    """
    state = _kept(path) if path.is_dir() else load_tensors(path)
    try:
        if "progress" not in state:  # best.pt
            iteration, weights, average = int(state["iteration"]), state["model"], []
        elif state["best"] is not None:
            best = state["best"]
            iteration, weights, average = int(best["iteration"]), best["model"], []
        else:
            iteration = int(state["progress"]["iteration"])
            weights, average = state["model"], state["average"]
        model.load_state_dict(weights)
        if average:
            averaged = Average.of(model, decay=0.5)  # the decay plays no part in reading it
            averaged.restore(average)
            averaged.swap()
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} has no whole checkpoint ({error}).") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:500]
        raise InputError(
            f"the weights in {path} are not those of this model ({reason}). The model's "
            "settings must be those of the run."
        ) from error
    return iteration


def _kept(directory: Path) -> dict[str, Any]:
    """The checkpoint, which is never the older one; best.pt where there is none that is whole."""
    checkpoint, best = directory / CHECKPOINT, directory / BEST
    if not best.exists():
        return load_tensors(checkpoint)
    if not checkpoint.exists():
        return load_tensors(best)
    try:
        return load_tensors(checkpoint)
    except InputError as error:
        complain(f"{error} The weights of {BEST} are taken.")
        return load_tensors(best)
