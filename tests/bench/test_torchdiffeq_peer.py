"""torchdiffeq on the same problem; these tests need it installed (pip install 'symadj[peers]')."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from symadj.bench.cases import Case, groups
from symadj.bench.measure import measure
from symadj.bench.problem import BenchProblem, Reference
from symadj.config.bench import BenchSettings, bench_settings, compose_bench
from symadj.errors import IncompatibleError
from symadj.ode.settings import SolverSettings
from symadj.records.record import RunRecord
from tests.bench.small import WAVES, small_cases

pytest.importorskip("torchdiffeq")

from symadj.bench.peers.torchdiffeq_peer import TorchdiffeqIntegrator, torchdiffeq_name

HOW = BenchSettings(repeats=1, isolate=False)


def cases(*overrides: str) -> tuple[Case, ...]:
    return small_cases("grads=[]", "peers=[torchdiffeq]", *overrides)


def rows(*overrides: str) -> dict[str, RunRecord]:
    found = cases(*overrides)
    reference = Reference.of(BenchProblem.of(found[0].config))
    return {record.grad: record for record in measure(found, HOW, reference)}


@pytest.mark.parametrize(
    "steps",
    [
        ("solver=dopri5", "solver.rtol=1e-2", "solver.atol=1e-2"),
        ("solver=rk38", "solver.num_steps=3"),
        ("solver=midpoint", "solver.num_steps=4"),
        ("solver=heun", "solver.num_steps=4"),
    ],
)
def test_on_the_same_steps_its_gradient_is_ours(steps: tuple[str, ...]) -> None:
    records = rows("model.components=2", *steps)
    assert [record.status for record in records.values()] == ["ok"] * 4
    for name in ("torchdiffeq", "torchdiffeq, autograd trace"):
        assert records[name].metrics["gradient_error_float64"] < 1e-12
    # The continuous adjoint differs, and the two traces are the same function.
    both = ["torchdiffeq adjoint", "torchdiffeq adjoint, autograd trace"]
    one, other = (records[name].metrics["gradient_error_float64"] for name in both)
    assert one > 1e-9
    assert one == pytest.approx(other, rel=1e-3)
    losses = {record.metrics["loss"] for record in records.values()}
    assert max(losses) - min(losses) < 1e-4


def test_an_energy_goes_by_its_formula_or_through_autograd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path))
    config = compose_bench([*WAVES, "peers=[torchdiffeq]"])
    (group,) = groups(config, bench_settings(config))
    records = measure(group.cases, HOW, Reference.of(BenchProblem.of(group.neutral)))
    for record in records:
        assert record.status == "ok", record.error
        assert record.solver == "dopri8"
        assert record.metrics["gradient_error_float64"] < 1e-6
    formula, through = (
        record.memory["peak_bytes"]
        for record in records
        if record.memory and "adjoint" not in record.grad
    )
    # Autograd keeps the energy's own graph besides that of its gradient.
    assert through > 1.1 * formula


def test_its_steps_and_evaluations_are_counted() -> None:
    records = rows("solver=rk38", "solver.num_steps=3")
    plain, adjoint = records["torchdiffeq"], records["torchdiffeq adjoint"]
    assert plain.steps == {"accepted": 3, "rejected": 0}
    assert plain.evaluations["forward"] == plain.evaluations["with_graph"] == 12
    assert adjoint.steps["accepted"] == 6
    assert adjoint.evaluations == {"forward": 12, "recomputed": 0, "with_graph": 12, "vjps": 12}
    adaptive = rows("solver=dopri5", "solver.rtol=1e-4")["torchdiffeq"]
    assert adaptive.evaluations["forward"] == 6 * sum(adaptive.steps.values()) + 2


def test_solvers_that_it_lacks_are_refused_by_name() -> None:
    assert torchdiffeq_name(SolverSettings("rk38", num_steps=2)) == "rk4"
    assert torchdiffeq_name(SolverSettings("heun")) == "adaptive_heun"
    for settings in (SolverSettings("tsit5"), SolverSettings("dopri5", num_steps=2)):
        with pytest.raises(IncompatibleError, match="torchdiffeq has no solver"):
            torchdiffeq_name(settings)


def test_where_it_gives_up_the_row_says_so() -> None:
    (case, *_) = cases("solver.max_steps=2")
    (record,) = measure([case], HOW, None)
    assert record.status == "step_limit"
    assert "torchdiffeq" in (record.error or {})["message"]


def test_it_solves_any_function_as_an_integrator_does() -> None:
    integrator = TorchdiffeqIntegrator(SolverSettings("euler", num_steps=2), adjoint=False)
    solution = integrator.solve(lambda t, y: -y, torch.ones(2), torch.tensor([0.0, 1.0]).double())
    assert torch.allclose(solution.ys[-1], torch.full((2,), 0.25))
    assert len(solution.steps) == 2
    assert integrator.take_stats().forward == 2
