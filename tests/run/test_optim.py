from __future__ import annotations

import pytest
import torch
from torch import nn

from symadj.errors import InputError
from symadj.run.optim import Adam


def rates(settings: Adam, steps: int) -> list[float]:
    optimizer, scheduler = settings.build([nn.Parameter(torch.zeros(1))], steps)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_the_rate_is_constant_by_default() -> None:
    assert rates(Adam(lr=0.5), 4) == [0.5] * 4


def test_the_cosine_falls_from_lr_to_its_final_fraction() -> None:
    seen = rates(Adam(lr=1.0, schedule="cosine", final=0.1), 101)
    assert seen[0] == 1.0
    assert seen == sorted(seen, reverse=True)
    assert Adam(lr=1.0, schedule="cosine", final=0.1).factor(50, 100) == pytest.approx(0.55)
    assert Adam(lr=1.0, schedule="cosine", final=0.1).factor(100, 100) == pytest.approx(0.1)


def test_the_warm_up_rises_linearly() -> None:
    assert rates(Adam(lr=1.0, warmup=3), 5) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_decoupled_decay_is_adamw() -> None:
    optimizer, _ = Adam(decoupled=True, weight_decay=0.1).build([nn.Parameter(torch.zeros(1))], 1)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_decay_pulls_to_the_origin(decoupled: bool) -> None:
    """Without a gradient Adam steps by lr against the sign of w, AdamW to (1 - lr decay) w."""
    weight = nn.Parameter(torch.tensor([2.0]))
    optimizer, _ = Adam(lr=0.1, decoupled=decoupled, weight_decay=0.5).build([weight], 1)
    weight.grad = torch.zeros(1)
    optimizer.step()
    assert weight.item() == pytest.approx(2 * (1 - 0.1 * 0.5) if decoupled else 2 - 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": float("nan")},
        {"betas": (0.9,)},
        {"betas": (0.9, 1.0)},
        {"weight_decay": -1.0},
        {"final": 2.0},
        {"warmup": -1},
        {"plateau": 0},
        {"plateau_factor": 0.0},
        {"plateau_drops": -1},
    ],
)
def test_a_value_out_of_range_is_refused_by_name(wrong: dict) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(wrong))}="):
        Adam(**wrong)


@pytest.mark.parametrize(
    ("stale", "left"), [(0, 1), (1, 1), (10, 1), (11, 0.1), (20, 0.1), (21, 0.01), (90, 0.01)]
)
def test_the_rate_drops_on_a_plateau_by_ffjords_rule(stale: int, left: float) -> None:
    assert Adam(plateau=10).drop(stale) == pytest.approx(left)
    assert Adam().drop(stale) == 1.0


def test_a_dropped_rate_stays_after_an_improvement_and_keeps_its_schedule() -> None:
    settings = Adam(lr=1.0, schedule="cosine", plateau=1)
    optimizer, scheduler = settings.build([nn.Parameter(torch.zeros(1))], 10)
    group = optimizer.param_groups[0]
    for stale, left in ((0, 1.0), (1, 1.0), (2, 0.1), (0, 0.1), (2, 0.1), (3, 0.01), (0, 0.01)):
        optimizer.step()
        scheduler.step()
        settings.follow(stale, scheduler)
        expected = left * settings.factor(scheduler.last_epoch, 10)
        assert group["lr"] == pytest.approx(expected)
    optimizer.step()
    scheduler.step()
    assert group["lr"] == pytest.approx(0.01 * settings.factor(8, 10))


def test_a_restored_schedule_goes_on_from_its_drop() -> None:
    settings = Adam(lr=1.0, plateau=1)
    optimizer, scheduler = settings.build([nn.Parameter(torch.zeros(1))], 10)
    settings.follow(2, scheduler)
    again, after = settings.build([nn.Parameter(torch.zeros(1))], 10)
    again.load_state_dict(optimizer.state_dict())
    after.load_state_dict(scheduler.state_dict())
    settings.follow(0, after)
    again.step()
    after.step()
    assert again.param_groups[0]["lr"] == pytest.approx(0.1)
