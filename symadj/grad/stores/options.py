"""The settings of a store, checked: which one, how many slots, where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from symadj.errors import IncompatibleError, InputError, suggest
from symadj.grad.stores.base import Store
from symadj.grad.stores.places import Blocks, Disk, Here, Host, Place
from symadj.grad.stores.revolve import Revolve, schedules
from symadj.grad.stores.stages import Stages
from symadj.grad.stores.steps import Steps
from symadj.ode.problem import Problem
from symadj.ranges import require

STORES = ("steps", "stages", "revolve")
PLACES = ("cpu", "disk")


@dataclass(frozen=True)
class StoreOptions:
    """What is kept of a solve, and where.

    Attributes:
        store: "steps": the start of every step. "stages": the stage derivatives as well.
            "revolve": at most `slots` starts.
        slots: of "revolve", at least 2.
        offload: None: kept on the device. "cpu": in the host's memory. "disk": in a file.
        offload_dir: folder of that file, which must be there; None: the system's folder for
            temporary files.

    Raises:
        InputError: an unknown name or a number out of range; "revolve" without the package that
            plans it.
        IncompatibleError: a setting that belongs to another one.
    """

    store: str = "steps"
    slots: int | None = None
    offload: str | None = None
    offload_dir: str | None = None

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise InputError(f"unknown store={self.store!r}.{suggest(self.store, STORES)}")
        if self.offload is not None and self.offload not in PLACES:
            raise InputError(
                f"unknown offload={self.offload!r}; without offload all stays on the device."
                f"{suggest(self.offload, PLACES)}"
            )
        if self.store == "revolve":
            self._check_slots()
            schedules()
        elif self.slots is not None:
            raise IncompatibleError(
                f"slots={self.slots} with store={self.store}; only store=revolve bounds the number "
                "of kept states. Set that, or leave slots out."
            )
        if self.offload_dir is None:
            return
        if self.offload != "disk":
            raise IncompatibleError(
                f"offload_dir={self.offload_dir} with offload={self.offload}; it is the folder of "
                "offload=disk. Set that, or leave offload_dir out."
            )
        if not Path(self.offload_dir).is_dir():
            raise InputError(
                f"offload_dir={self.offload_dir} is no folder; make it, or name another."
            )

    def _check_slots(self) -> None:
        if self.slots is None:
            raise InputError(
                "store=revolve needs slots, the number of states to keep: slots=10, say."
            )
        require("grad", slots=self.slots)

    def open(self, problem: Problem) -> Store:
        """A store for one solve.

        Raises:
            IncompatibleError: "revolve" for samples with steps of their own.
            StorageError: no file can be made in `offload_dir`.
        """
        if problem.settings.batch == "independent" and self.store == "revolve":
            raise IncompatibleError(
                "store=revolve with batch=independent: its plan is of one row of steps, and every "
                "sample has its own. Take store=steps or stages, or batch=joint."
            )
        place = self._place()
        if self.store == "revolve":
            assert self.slots is not None
            return Revolve(problem, place, self.slots)
        return (Stages if self.store == "stages" else Steps)(problem, place)

    def _place(self) -> Place:
        if self.offload == "disk":
            return Disk(Path(self.offload_dir) if self.offload_dir else None)
        if self.offload == "cpu":
            return Host()
        return Here() if self.store == "revolve" else Blocks()

    def given(self) -> str:
        """The settings that are not the default, as arguments."""
        default = StoreOptions()
        return ", ".join(
            f"{name}={value!r}"
            for name, value in vars(self).items()
            if value != getattr(default, name)
        )
