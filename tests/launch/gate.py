"""Jobs that wait in the middle until a test lets them go on, and what the tests do meanwhile."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.files import process_lives
from symadj.records.record import RunRecord
from tests.standins import CONFIGS, Shrink


class Gate(Shrink):
    """Waits at its fourth loss until `folder/open` is there.

    Args:
        folder: where it tells what it finds around it, in a file named for its process.
    """

    def __init__(self, folder: str, fail: str | None = None, fail_at: int = 3) -> None:
        super().__init__(fail, fail_at)
        self.folder = Path(folder)

    def loss(self, model: nn.Module, batch: Tensor, integrator: Integrator) -> Tensor:
        value = super().loss(model, batch, integrator)
        if self.losses == 4:
            around = {"folder": os.getcwd(), "argv": sys.argv, "threads": torch.get_num_threads()}
            path = self.folder / f"{os.getpid()}.json"
            path.with_suffix(".tmp").write_text(json.dumps(around))
            path.with_suffix(".tmp").rename(path)
            until((self.folder / "open").exists)
        return value


def gated(folder: Path, *more: str) -> list[str]:
    """The words of a sweep whose jobs wait at a gate."""
    return [
        *("-m", "--config-dir", str(CONFIGS), "experiment=standin", f"out={folder / 'out'}"),
        *("task._target_=tests.launch.gate.Gate", f"+task.folder={folder}", *more),
    ]


def waiting(folder: Path) -> list[dict[str, object]]:
    """What the jobs that have come to the gate have found around them."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def processes(folder: Path) -> list[int]:
    """The processes that have come to the gate and are still there."""
    return [int(path.stem) for path in folder.glob("*.json") if process_lives(int(path.stem))]


def meanwhile(folder: Path, action: Callable[[], object]) -> None:
    """Does something in another thread; the main one is for the command, which handles signals.

    Where that fails the gate is opened, so that the command ends.
    """

    def act() -> None:
        try:
            action()
        except BaseException:
            (folder / "open").touch()
            raise

    threading.Thread(target=act, daemon=True).start()


def records(folder: Path) -> list[RunRecord]:
    """What the runs of the sweep have left, by seed."""
    found = [RunRecord.load(path) for path in (folder / "out").glob("*/record.json")]
    return sorted(found, key=lambda record: record.seed)


def until(holds: Callable[[], object], seconds: float = 120.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.02)
