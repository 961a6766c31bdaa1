"""The memory laws of the paper's Table 1, metered on small nets."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from symadj.bench.laws import Size, cost
from symadj.grad import ACA, GradientMethod, Symplectic
from tests.grad.variants import GENERAL

BASE = Size(solver="rk4", steps=8, layers=4, batch=256, dim=4, width=32)
STATE = BASE.batch * BASE.dim * 4
LAYER = BASE.batch * BASE.width * 4


def ratio(gradient: str | GradientMethod, column: str = "graph_bytes", **change: Any) -> float:
    """How a part grows when one of N, s, L, M is changed."""
    before = cost(gradient, BASE)[column]
    return cost(gradient, dataclasses.replace(BASE, **change))[column] / before


@pytest.mark.parametrize("gradient", ["backprop", "checkpoint"])
def test_graphs_of_all_uses_grow_with_steps_stages_and_layers(gradient: str) -> None:
    assert ratio(gradient, steps=16) == pytest.approx(2, rel=0.05)
    assert ratio(gradient, solver="dop853") == pytest.approx(3, rel=0.05)
    assert ratio(gradient, layers=8) == pytest.approx(2, rel=0.1)


def test_components_add_up_for_backprop_and_not_for_one_checkpoint_each() -> None:
    assert ratio("backprop", components=3) == pytest.approx(3, rel=0.05)
    assert ratio("checkpoint", components=3) == pytest.approx(1, rel=0.05)


def test_aca_holds_the_graphs_of_one_step() -> None:
    assert ratio("aca", steps=16) == pytest.approx(1, abs=0.01)
    assert 2 < ratio("aca", solver="dop853") < 3.05
    assert ratio("aca", components=3) == pytest.approx(1, abs=0.1)


def test_symplectic_holds_the_graph_of_one_use() -> None:
    assert ratio("symplectic", steps=16) == pytest.approx(1, abs=0.01)
    # Eight stages more are eight states more to hold, and as many cotangents at most.
    more = (ratio("symplectic", solver="dop853") - 1) * cost("symplectic", BASE)["graph_bytes"]
    assert more <= 2 * 8 * STATE
    assert ratio("symplectic", components=3) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("gradient", ["symplectic", "adjoint"])
def test_a_layer_costs_about_one_activation(gradient: str) -> None:
    """And its weights' gradients: the running sum and the newest."""
    weights = 4 * (BASE.width**2 + BASE.width)
    deeper = dataclasses.replace(BASE, layers=12)
    more = cost(gradient, deeper)["graph_bytes"] - cost(gradient, BASE)["graph_bytes"]
    assert 8 * LAYER <= more <= 8 * (LAYER + 6 * weights)


@pytest.mark.parametrize("gradient", ["aca", "symplectic"])
def test_checkpoints_are_one_state_a_step(gradient: str) -> None:
    """And f(t0, y0), with which the backward pass makes sure that the field is the same."""
    assert cost(gradient, BASE)["checkpoints_bytes"] == (BASE.steps + 1) * STATE
    assert ratio(gradient, "checkpoints_bytes", steps=24) == (24 + 1) / (BASE.steps + 1)
    assert ratio(gradient, "checkpoints_bytes", components=3) == 3
    assert ratio(gradient, "checkpoints_bytes", layers=8) == 1


@pytest.mark.parametrize(
    "gradient", [Symplectic(store="revolve", slots=4), ACA(store="revolve", slots=4)], ids=repr
)
def test_revolve_does_not_grow_with_the_steps(gradient: GradientMethod) -> None:
    assert ratio(gradient, "peak_bytes", steps=24) == 1
    assert ratio(gradient, "checkpoints_bytes", steps=24) == 1
    assert cost(gradient, BASE)["checkpoints_bytes"] == (4 + 1) * STATE


def test_no_more_states_are_alive_than_there_are_slots() -> None:
    few, many = (
        cost(Symplectic(store="revolve", slots=slots), dataclasses.replace(BASE, steps=40))
        for slots in (4, 14)
    )
    assert many["peak_bytes"] - few["peak_bytes"] == 10 * STATE


def test_kept_stages_are_s_states_a_step() -> None:
    stages = Symplectic(store="stages")
    assert cost(stages, BASE)["checkpoints_bytes"] == BASE.steps * 4 * STATE
    assert ratio(stages, steps=16) == pytest.approx(1, abs=0.01)


def test_states_on_disk_take_no_memory() -> None:
    assert ratio(Symplectic(offload="disk"), "peak_bytes", steps=24) == 1


def test_adjoint_does_not_grow_with_the_steps() -> None:
    assert ratio("adjoint", "peak_bytes", steps=64) == 1


def test_symplectic_needs_least_of_the_exact_methods() -> None:
    peaks = {
        name: cost(name, BASE)["peak_bytes"] for name, method in GENERAL.items() if method.exact
    }
    assert min(peaks, key=lambda name: peaks[name]) == "symplectic"
    assert peaks["symplectic"] < 0.1 * peaks["backprop"]
