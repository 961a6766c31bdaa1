"""The moving average of the weights: its formula, its place in a run, its checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from symadj.errors import InputError
from symadj.run.average import Average
from symadj.run.checkpoint import load_checkpoint, load_tensors
from tests.standins import train_quietly


def test_it_is_the_published_formula() -> None:
    weight = nn.Parameter(torch.tensor([1.0]))
    average = Average([weight], 0.75)
    for value in (3.0, -1.0):
        weight.data.fill_(value)
        average.update()
    expected = 0.75 * (0.75 * 1.0 + 0.25 * 3.0) + 0.25 * -1.0
    with average.in_place():
        assert weight.item() == pytest.approx(expected)
    assert weight.item() == -1.0


def test_without_decay_nothing_is_kept() -> None:
    average = Average.of(nn.Linear(2, 2), None)
    average.update()
    assert average.state() == []


def test_frozen_weights_are_left_alone() -> None:
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert len(Average.of(model, 0.9).values) == 1


def test_a_checkpoint_of_another_model_is_refused() -> None:
    with pytest.raises(InputError, match="does not fit"):
        Average.of(nn.Linear(2, 2), 0.9).restore([torch.zeros(3)])


def test_a_run_keeps_the_averaged_weights_as_its_best(tmp_path: Path) -> None:
    _, plain = train_quietly(tmp_path / "plain")
    record, averaged = train_quietly(tmp_path / "averaged", "train.ema=0.5")
    states = [load_checkpoint(run / "checkpoint.pt") for run in (plain, averaged)]
    # The training itself is the same: only what is looked at differs.
    for name, weight in states[0]["model"].items():
        assert torch.equal(weight, states[1]["model"][name])
    best = load_tensors(averaged / "best.pt")
    if best["iteration"] == record.iterations:
        assert torch.equal(next(iter(best["model"].values())), states[1]["average"][0])
    assert not torch.equal(
        next(iter(best["model"].values())), next(iter(states[1]["model"].values()))
    )
