"""grad=auto takes the fastest exact method that fits, says why, and refuses where none does."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symadj import InputError, odeint, solve
from symadj.errors import NothingFits
from symadj.grad import Auto
from symadj.grad.back_through import uses_back
from symadj.grad.forecast import Solve, Use, forecasts
from symadj.grad.stores.revolve import recomputed_steps
from symadj.meters.meter import make_meter
from symadj.ode.methods import GeneralLinear
from symadj.ode.settings import SolverSettings
from tests.fields import Energy, Wave, start

T = torch.tensor([0.0, 1.0], dtype=torch.float64)
HUGE = 2**40


def by_label(use: Use, memory: int = 0, **size: Any) -> dict[str, int]:
    solve = Solve(use, **{"stages": 4, "steps": 30, "outputs": 2, **size})
    return {f"{f.method} {f.store}".strip(): f.peak for f in forecasts(solve, memory)}


USE = Use(
    state=1000,
    params=500,
    graph=20_000,
    saved_state=True,
    saved_value=False,
    product=30_000,
    stage=30_000,
)


def test_what_grows_with_the_steps_in_the_forecast() -> None:
    few, many = by_label(USE, steps=30), by_label(USE, steps=31)
    growth = {label: many[label] - few[label] for label in few}
    assert growth == {
        "backprop": 4 * 20_000,
        "checkpoint": 4 * 20_000,
        "aca steps": 1000,
        "symplectic stages": 4000,
        "symplectic steps": 1000,
        "symplectic revolve": 0,
    }


def test_revolve_gets_as_many_slots_as_fit() -> None:
    for at_once in (1, 3):
        solve = Solve(USE, stages=4, steps=300, outputs=2, at_once=at_once)
        rows = {f.store: f for f in forecasts(solve, 170_000)}
        revolve = rows["revolve"]
        assert revolve.slots is not None
        assert revolve.slots > 2
        assert 170_000 - at_once * 1000 < revolve.peak <= 170_000
        again = 4 * recomputed_steps(300, revolve.slots)
        assert revolve.evaluations == 300 * (4 * 4 - 1) + again


def test_fewest_evaluations_come_first() -> None:
    rows = forecasts(Solve(USE, stages=4, steps=30, outputs=2), 0)
    assert [row.evaluations for row in rows] == sorted(row.evaluations for row in rows)
    assert (rows[0].method, rows[-1].store) == ("backprop", "revolve")
    assert rows[0].evaluations == 2 * 30 * 4


class Net(nn.Module):
    """Wide inside, so that graphs outweigh states."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 50), nn.Tanh(), nn.Linear(50, 4)).double()

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.layers(y) * torch.cos(t)


def peaks_of(field: nn.Module, y0: Tensor, method: str, options: dict) -> list[int]:
    """The forecasts for a solve, the fastest method first."""
    auto = Auto(HUGE)
    solution = solve(field, y0, T, method=method, options=options, gradient=auto)
    (known,) = auto._known.values()
    solver = SolverSettings.from_options(method, 1e-5, 1e-5, options).solver
    n = len(solution.steps)
    size: dict[str, Any] = {}
    if isinstance(solver, GeneralLinear):
        size = {"states": 2, "uses_back": uses_back(solver, n)}
    size["uses_in_all"] = solver.uses_in(n)
    rows = forecasts(Solve(known.use, solver.uses, n, 2, **size), 0)
    return [row.peak for row in rows]


@pytest.mark.parametrize("field", [Net(), Energy()], ids=["net", "energy"])
@pytest.mark.parametrize("method", ["rk4", "alf", "reversible_heun", "reversible"])
def test_each_budget_is_kept_and_the_gradient_is_exact(method: str, field: nn.Module) -> None:
    y0 = start(64, 2 if isinstance(field, Energy) else 4)
    # Of eight uses a step; so few tensors are kept one by one, without room for more.
    options = {"num_steps": 6, "base": "rk4"} if method == "reversible" else {"num_steps": 12}
    inputs = [y0, *field.parameters()]
    ys = odeint(field, y0, T, method=method, options=options, gradient="backprop")
    reference = torch.autograd.grad(ys.sin().sum(), inputs)
    chosen = []
    for budget in peaks_of(field, y0, method, options):
        auto = Auto(budget)
        odeint(field, y0, T, method=method, options=options, gradient=auto)
        meter = make_meter("dispatch", y0.device)
        with meter:
            ys = odeint(field, y0, T, method=method, options=options, gradient=auto)
            found = torch.autograd.grad(ys.sin().sum(), inputs)
        assert meter.peak_bytes <= 1.05 * budget
        assert auto.chosen is not None
        chosen.append(auto.chosen.label)
        for ours, other in zip(found, reference, strict=True):
            assert (ours - other).norm() < 1e-12 * other.norm()
    assert chosen[0] == "backprop"
    # Taking a step back costs no more than recomputing it from a start that was kept.
    assert ("symplectic, steps" in chosen) == (method == "rk4")
    assert ("symplectic, revolve, 2 slots" in chosen) == (method == "rk4")
    assert ("reversible" in chosen) == (method != "rk4")


def test_nothing_fits() -> None:
    with pytest.raises(
        NothingFits, match=r"(?s)backprop .*too much.*revolve.*The least is"
    ) as info:
        odeint(Net(), start(64, 4), T, method="rk4", options={"num_steps": 9}, gradient=Auto(5000))
    assert info.value.status == "oom"
    assert "taken" not in str(info.value)


def test_the_choice_follows_the_number_of_steps() -> None:
    field, y0 = Net(), start(64, 4)
    few = solve(field, y0, T, rtol=1e-3, atol=1e-3, gradient="symplectic")
    many = solve(field, y0, T, rtol=1e-10, atol=1e-10, gradient="symplectic")
    assert len(many.steps) > 3 * len(few.steps)
    auto = Auto(HUGE)
    solve(field, y0, T, rtol=1e-3, atol=1e-3, gradient=auto)
    assert auto.chosen is not None
    auto.memory = 2 * auto.chosen.peak
    labels = []
    for tolerance in (1e-3, 1e-10, 1e-10, 1e-3, 1e-3):
        solution = solve(field, y0, T, rtol=tolerance, atol=tolerance, gradient=auto)
        solution.ys.sum().backward()
        labels.append(auto.chosen.label)
    # Each solve goes by the number of steps of the one before.
    assert labels[:2] == labels[4:] * 2 == ["backprop"] * 2
    assert labels[2] == labels[3] != "backprop"


def test_solves_in_a_row_share_the_memory() -> None:
    field = Net()
    auto = Auto(HUGE)

    def flow() -> Tensor:
        y = start(64, 4)
        for _ in range(3):
            y = odeint(field, y, T, method="rk4", options={"num_steps": 5}, gradient=auto)[-1]
        return y.sum()

    flow().backward()
    assert auto.chosen is not None
    three = auto.chosen.peak
    flow().backward()
    assert auto.chosen.peak == three
    auto = Auto(HUGE)
    for _ in range(3):
        options = {"num_steps": 5}
        odeint(
            field, start(64, 4), T, method="rk4", options=options, gradient=auto
        ).sum().backward()
    assert auto.chosen is not None
    assert 2 * auto.chosen.peak < three < 3.1 * auto.chosen.peak


def test_the_reasoning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    auto = Auto("1GiB")
    for _ in range(2):
        odeint(Wave(), start(4, 3), T, rtol=1e-4, gradient=auto)
    lines = capsys.readouterr().out.splitlines()
    assert sum("grad=auto" in line for line in lines) == 1
    assert "memory 1 GiB" in lines[0]
    assert [line for line in lines if "taken" in line] == [
        line for line in lines if line.split()[0] == "backprop"
    ]


def test_the_trial_is_not_counted() -> None:
    ours = solve(Wave(), start(4, 3), T, rtol=1e-4, gradient=Auto(HUGE)).stats
    assert ours == solve(Wave(), start(4, 3), T, rtol=1e-4, gradient="backprop").stats


def test_without_revolves_package_its_row_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "checkpoint_schedules", None)
    with pytest.raises(NothingFits) as info:
        odeint(Net(), start(64, 4), T, method="rk4", options={"num_steps": 9}, gradient=Auto(5000))
    assert "revolve" not in str(info.value)


def test_nothing_to_differentiate() -> None:
    assert not odeint(lambda t, y: -y, torch.ones(2), T, gradient=Auto(HUGE)).requires_grad


@pytest.mark.parametrize("memory", ["64 Mib!", "0", -1])
def test_a_memory_that_is_none(memory: int | str) -> None:
    with pytest.raises(InputError, match="memory"):
        Auto(memory)


def test_auto_by_its_name_alone_says_what_it_needs() -> None:
    with pytest.raises(InputError, match=r'symadj.grad.Auto\("64MiB"\)'):
        odeint(Wave(), start(4, 3), T, gradient="auto")
