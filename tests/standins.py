"""Small data, model and task for tests of the runner: a run of them takes milliseconds."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from symadj.calls.integrator import Integrator
from symadj.config.compose import compose
from symadj.config.schema import Config
from symadj.data.base import Data
from symadj.errors import MemoryBudgetExceeded, NonFiniteError
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from symadj.run.train import train
from symadj.tasks.base import Task


class Cloud(Data):
    """Points around the origin."""

    note = "a stand-in for tests"

    def __init__(self, dim: int = 2, seed: int = 0) -> None:
        self.name = "cloud"
        self.dim = dim
        generator = torch.Generator().manual_seed(seed)
        self.train, self.val, self.test = (
            torch.randn(n, dim, generator=generator) for n in (40, 10, 10)
        )

    def sample_batch(self, n: int, generator: torch.Generator) -> Tensor:
        return self.train[torch.randint(len(self.train), (n,), generator=generator)]


class LabelledCloud(Cloud):
    """The same points with a class each: a batch of two tensors, one of them of whole numbers."""

    def sample_batch(self, n: int, generator: torch.Generator) -> Any:
        x = super().sample_batch(n, generator)
        return {"x": x, "label": (x[:, 0] > 0).long()}


class Flow(nn.Module):
    """x(1) of dx/dt = W tanh(x)."""

    def __init__(self, dim: int, width: int = 4) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, width), nn.Tanh(), nn.Linear(width, dim))

    def forward(self, x: Tensor, integrator: Integrator) -> Tensor:
        t = torch.tensor([0.0, 1.0], dtype=torch.float64)
        return integrator.solve(lambda t, y: self.net(y), x, t, tuple(self.parameters())).ys[-1]


class Shrink(Task):
    """Moves all points to the origin, on noise as a Hutchinson estimate has it.

    Args:
        fail: None, or what goes wrong: "nonfinite", "loss", "oom", "bug", "interrupt", "kill".
            The environment variable STANDIN_FAIL says it for one process alone.
        fail_at: at which loss of the process, counted from 1.
    """

    monitor = "nll"

    def __init__(self, fail: str | None = None, fail_at: int = 3) -> None:
        self.fail = os.environ.get("STANDIN_FAIL", fail)
        self.fail_at = fail_at
        self.losses = 0

    def loss(self, model: nn.Module, batch: Tensor, integrator: Integrator) -> Tensor:
        self.losses += 1
        if self.losses == self.fail_at and self.fail is not None:
            self._fail()
        noise = 1 + 0.1 * torch.randn(batch.shape, dtype=batch.dtype)
        loss = (model(batch, integrator) * noise).square().mean()
        return loss * float("nan") if self.losses == self.fail_at and self.fail == "loss" else loss

    def _fail(self) -> None:
        if self.fail == "nonfinite":
            raise NonFiniteError(
                "the state is not finite",
                phase="forward",
                t=0.5,
                h=0.1,
                steps=3,
                rejects=1,
                largest=float("inf"),
            )
        if self.fail == "oom":
            raise MemoryBudgetExceeded("planted")
        if self.fail == "bug":
            raise AttributeError("planted bug")
        if self.fail == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fail == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)

    def evaluate(self, model, x, data, integrator, batch_size) -> dict[str, float]:
        noise = 1 + 0.1 * torch.randn(x.shape, dtype=x.dtype)
        return self._scores(model, x, data, integrator, noise)

    def test(self, model, x, data, integrator, batch_size) -> dict[str, float]:
        return self._scores(model, x, data, integrator, torch.ones_like(x))

    def _scores(self, model, x, data, integrator, scale) -> dict[str, float]:
        with torch.no_grad():
            value = float((model(x, integrator) * scale).square().mean())
        return {"nll": value, "bits_per_dim": value / data.dim}

    def figures(self, model, data, integrator, generator) -> dict[str, Figure]:
        figure = Figure()
        figure.subplots().scatter(*data.test[:, :2].T)
        return {"samples": figure}


CONFIGS = Path(__file__).parent / "standin_configs"


class ShrinkLabelled(Shrink):
    """The same for points with labels, which weigh them."""

    def loss(self, model: nn.Module, batch: Any, integrator: Integrator) -> Tensor:
        assert batch["label"].dtype == torch.int64
        return super().loss(model, batch["x"] * (1 + batch["label"]).unsqueeze(1), integrator)


def standin_config(out: Path, *overrides: str) -> Config:
    """The configuration of a small run below `out`."""
    return compose("train", ["experiment=standin", f"out={out}", *overrides], CONFIGS)


def train_quietly(out: Path, *overrides: str) -> tuple[RunRecord, Path]:
    """Trains the stand-ins; the record and the run directory."""
    record = train(standin_config(out, *overrides), overrides)
    return record, out / record.name


def losses(directory: Path) -> list[float]:
    """The training losses that a run's history holds."""
    return read_history(directory / "history.csv")["loss"].tolist()
