from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from symadj import InputError, Integrator, SolverSettings
from symadj.cli import train
from symadj.data.digits import Digits
from symadj.data.toy2d import Toy2D
from symadj.models.classifier import ClassifierMLP
from symadj.records.record import RunRecord
from symadj.tasks.classify import Classification

SOLVER = Integrator(SolverSettings())
RUN = [
    *("data=digits", "task=classify", "train.steps=60", "train.eval_every=30", "measure=none"),
    *("optim.lr=0.01", "threads=1", "train.figures=false"),
]


class Knows(nn.Module):
    """Sees class 1 in every row, with logits 0 and log 3."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([0.0, math.log(3)]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), 2)


def test_loss_and_accuracy_are_those_of_the_logits() -> None:
    split = torch.zeros(4, 3), torch.tensor([1, 1, 1, 0])
    found = Classification().evaluate(Knows(), split, None, SOLVER, 3)  # pyright: ignore[reportArgumentType]
    assert found["accuracy"] == 0.75
    assert found["loss"] == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)
    assert Classification().loss(Knows(), split, SOLVER).item() == pytest.approx(found["loss"])


def test_digits_are_learned_and_the_record_says_so(tmp_path: Path) -> None:
    assert train.main([*RUN, f"out={tmp_path}", "name=run"]) == 0
    record = RunRecord.load(tmp_path / "run" / "record.json")
    assert record.metrics["test/accuracy"] > 0.85
    assert not any(record.evaluations.values())
    assert "accuracy" in (tmp_path / "run" / "history.csv").read_text().splitlines()[0]


def test_noise_in_training_is_drawn_and_has_its_deviation() -> None:
    class Sees(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.x = x
            return x[:, :2]

    model, batch = Sees(), (torch.zeros(4000, 3), torch.zeros(4000, dtype=torch.int64))
    Classification(noise=0.5).loss(model, batch, SOLVER)
    assert float(model.x.std()) == pytest.approx(0.5, rel=0.05)


def test_what_has_no_classes_is_refused() -> None:
    digits = Digits()
    with pytest.raises(InputError, match="data=8gaussians have none"):
        Classification().bind(Toy2D(size=20), ClassifierMLP(2, 2), SOLVER)
    with pytest.raises(InputError, match=r"gives logits \[B, 10\] of rows \[B, 64\]"):
        Classification().bind(digits, ClassifierMLP(64, 9), SOLVER)
    with pytest.raises(InputError, match="model=classifier_mlp"):
        Classification().bind(digits, ClassifierMLP(63, 10), SOLVER)
    Classification().bind(digits, ClassifierMLP(64, 10), SOLVER)
