"""diffrax on the same flow; these tests need it installed (pip install 'symadj[peers]')."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch

from symadj.bench.cases import Case
from symadj.bench.measure import measure
from symadj.bench.problem import BenchProblem, Reference
from symadj.config.bench import BenchSettings
from symadj.models.layers import ACTIVATIONS
from symadj.ode.settings import SolverSettings
from symadj.records.record import RunRecord
from symadj.tasks.density import Density
from tests.bench.small import small_cases

pytest.importorskip("diffrax")

pytestmark = pytest.mark.slow  # XLA compiles for seconds

HOW = BenchSettings(repeats=1, isolate=False)


def cases(*overrides: str) -> tuple[Case, ...]:
    return small_cases("grads=[]", "peers=[diffrax]", *overrides)


def rows(*overrides: str) -> dict[str, RunRecord]:
    found = cases(*overrides)
    reference = Reference.of(BenchProblem.of(found[0].config))
    return {record.grad: record for record in measure(found, HOW, reference)}


@pytest.mark.parametrize(
    "overrides",
    [
        ("solver.rtol=1e-3", "solver.atol=1e-3", "model.components=2"),
        ("solver=midpoint", "solver.num_steps=3", "model.activation=softplus"),
        ("solver=bosh3", "model.layer=concat", "model.noise=rademacher"),
        ("solver=heun", "model.layer=plain", "model.T=0.5"),
        ("solver=reversible_heun", "solver.num_steps=7"),
    ],
)
def test_on_the_same_steps_its_gradient_is_ours(overrides: tuple[str, ...]) -> None:
    for record in rows(*overrides).values():
        assert record.status == "ok", record.error
        assert record.metrics["gradient_error_float64"] < 1e-12
        # Its own steps and float32: near, and not the same.
        assert 0 < record.metrics["gradient_error"] < 1e-2


def test_equations_of_given_steps_take_as_many_iterations_as_they_need() -> None:
    on_grid = importlib.import_module("symadj.bench.peers.jax_solve").on_grid
    root_find = importlib.import_module("optimistix").root_find
    settings = SolverSettings("implicit_euler", num_steps=1)
    finder = on_grid(settings, [0.0, 1.0])["solver"].root_finder
    root = root_find(lambda y, _: y**3 - 2.0, finder, np.asarray(5.0, np.float32), max_steps=20)
    assert float(root.value) == pytest.approx(2 ** (1 / 3), rel=1e-3)
    assert int(root.stats["num_steps"]) > 4


@pytest.mark.parametrize(
    "overrides",
    [
        ("solver=implicit_euler", "solver.num_steps=6"),
        # XLA takes a minute for each of its functions.
        pytest.param(
            ("solver=kvaerno3", "solver.rtol=1e-3", "solver.newton_tol=1e-6"),
            marks=pytest.mark.heavy,
        ),
    ],
)
def test_on_the_same_implicit_steps_its_gradient_is_ours(overrides: tuple[str, ...]) -> None:
    found = cases("peer_traces=[tangent]", *overrides)
    reference = Reference.of(BenchProblem.of(found[0].config))
    (record,) = measure(found, HOW, reference)
    assert record.status == "ok", record.error
    # Both solve the equations nearly to rounding, whatever newton_tol the row has.
    assert record.metrics["gradient_error_float64"] < 1e-10
    assert 0 < record.metrics["gradient_error"] < 1e-2


def test_a_row_holds_steps_memory_and_seconds() -> None:
    record = rows("solver=midpoint", "solver.num_steps=3")["diffrax"]
    assert record.steps == {"accepted": 3, "rejected": 0}
    assert record.evaluations == {}
    assert record.memory is not None
    assert record.memory["meter"] == "xla"
    assert record.memory["peak_bytes"] > 0
    assert record.seconds["iteration"]["n"] == 1
    assert record.seconds["forward"]["n"] == 0
    assert {"diffrax", "jax"} <= record.environment.keys()


@pytest.mark.parametrize(
    ("override", "status", "complaint"),
    [
        ("model.trace=exact", "incompatible", "hutchinson"),
        ("model.batch_norm=true", "incompatible", "batch_norm"),
        ("task.jacobian=0.1", "incompatible", "task.jacobian"),
        ("solver=fehlberg2", "incompatible", "dop853"),
        ("solver.max_steps=2", "step_limit", "diffrax"),
        ("measure.memory_budget=100", "oom", "XLA"),
    ],
)
def test_what_it_cannot_do_is_a_status(override: str, status: str, complaint: str) -> None:
    (case, _) = cases(override)
    (record,) = measure([case], HOW, None)
    assert record.status == status
    assert complaint in (record.error or {})["message"]


class Alike(Density):
    """A task of a user's own, of which the peer knows nothing."""


class Offering(Density):
    """One that offers its problem in JAX: of the flow, half the loss."""

    def loss(self, model: Any, batch: torch.Tensor, integrator: Any) -> torch.Tensor:
        return super().loss(model, batch, integrator) / 2

    def jax_problem(self, problem: BenchProblem, tangent: bool) -> Any:
        flow = importlib.import_module("symadj.bench.peers.jax_flow").JaxFlow(problem, tangent)
        whole = flow.loss

        def half(stepping: Any) -> Any:
            def value(*given: Any) -> Any:
                loss, solves = whole(stepping)(*given)
                return loss / 2, solves

            return value

        flow.loss = half
        return flow


def test_a_task_of_a_users_own_offers_its_problem() -> None:
    own = f"task._target_={__name__}.Offering"
    for record in rows(own, "solver=midpoint", "solver.num_steps=3").values():
        assert record.status == "ok", record.error
        assert record.metrics["gradient_error_float64"] < 1e-12


def test_a_task_without_a_problem_in_jax_is_incompatible() -> None:
    (case, _) = cases(f"task._target_={__name__}.Alike")
    (record,) = measure([case], HOW, None)
    assert record.status == "incompatible"
    assert "jax_problem" in (record.error or {})["message"]


def test_where_it_lacks_the_solver_another_one_of_that_order_stands_in() -> None:
    records = rows("solver=dop853", "solver.rtol=1e-4", "solver.atol=1e-6")
    for record in records.values():
        assert record.status == "ok", record.error
        assert record.solver == "dopri8"
        # On the same steps: another discretisation, as near as both are to the solution.
        assert 1e-13 < record.metrics["gradient_error_float64"] < 1e-3


def test_it_has_the_same_activations() -> None:
    jax_flow = importlib.import_module("symadj.bench.peers.jax_flow")
    a = torch.linspace(-3, 3, 13)
    assert jax_flow._ACTIVATIONS.keys() == ACTIVATIONS.keys()
    for name, activation in ACTIVATIONS.items():
        theirs = torch.tensor(np.asarray(jax_flow._ACTIVATIONS[name](a.numpy())).copy())
        torch.testing.assert_close(theirs, activation.value(a), rtol=1e-6, atol=1e-6)
