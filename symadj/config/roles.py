"""What each setting is to a run: part of the experiment, of how far it goes, of where, or of how.

The one place that knows. Which runs are the same experiment, what may be changed on a resume, what
names a run and what a report takes for incidental follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any


class Role(Enum):
    """The role of a setting."""

    EXPERIMENT = "what is trained, on what, how"
    EXTENT = "how far a training goes, on which machine, what is measured of it"
    PLACE = "where files are read and written"
    LAUNCH = "how the run is started"

    @property
    def tells_runs_apart(self) -> bool:
        """Whether two runs that differ in such a setting are different experiments."""
        return self in (Role.EXPERIMENT, Role.EXTENT)


_ROLES: Mapping[str, Role] = {
    **dict.fromkeys(
        (
            *("device", "threads", "compile", "solver.compile", "measure", "data.path"),
            *("train.steps", "train.max_seconds", "train.patience"),
            *("train.eval_batch_size", "train.test"),
        ),
        Role.EXTENT,
    ),
    **dict.fromkeys(("name", "out", "data.data_dir", "grad.offload_dir"), Role.PLACE),
    **dict.fromkeys(("launcher", "resume", "isolate", "fresh", "trust"), Role.LAUNCH),
    "train.figures": Role.LAUNCH,
}
"""By full key, or by that of a section; whatever is not here is part of the experiment."""


def role(key: str) -> Role:
    """The role of the setting of this full key."""
    return next((known for name, known in _ROLES.items() if below(key, name)), Role.EXPERIMENT)


PLACES = tuple(k for k, known in _ROLES.items() if known is Role.PLACE and "." in k)
"""Settings of the groups that say where files are written."""


def below(key: str, name: str) -> bool:
    """Whether a dotted name is this one or lies below it."""
    return key == name or key.startswith(f"{name}.")


def leaves(config: Mapping[Any, Any]) -> dict[str, Any]:
    """Every setting of a configuration of plain values by its full key; an empty section is one."""
    found: dict[str, Any] = {}

    def walk(value: Any, key: str) -> None:
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                walk(inner, f"{key}.{name}" if key else str(name))
        else:
            found[key] = value

    walk(config, "")
    return found
