"""What a row holds, and what becomes of one that fails."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from symadj.bench.candidate import TorchCandidate
from symadj.bench.cases import Case
from symadj.bench.measure import measure, measure_job
from symadj.bench.problem import BenchProblem, Reference, hide_formulas, relative_error
from symadj.config.bench import BenchSettings
from symadj.errors import IncompatibleError, InputError
from symadj.files import BEST
from symadj.records.record import RunRecord
from symadj.run.checkpoint import save_checkpoint
from symadj.tasks.density import Density
from symadj.threads import given_threads
from tests.bench.small import small_cases
from tests.devices import DEVICES
from tests.grad.variants import GENERAL

HOW = BenchSettings(repeats=2, warmup=1, isolate=False)
LOOSE = ("solver.rtol=1e-2", "solver.atol=1e-2", "model.components=2")


def rows(*overrides: str, how: BenchSettings = HOW) -> dict[str, RunRecord]:
    cases = small_cases(*overrides)
    reference = Reference.of(BenchProblem.of(cases[0].config))
    return {record.grad: record for record in measure(cases, how, reference)}


def test_exact_methods_differ_from_the_reference_by_rounding_and_the_adjoint_by_more() -> None:
    records = rows(f"grads=[{','.join(GENERAL)}]", *LOOSE)
    for name, record in records.items():
        assert record.status == "ok"
        in_own, in_double = (
            record.metrics[key] for key in ("gradient_error", "gradient_error_float64")
        )
        if GENERAL[name].exact:
            assert in_double < 1e-12
            assert 1e-9 < in_own < 1e-5
        else:
            assert in_double > 1e-6
    losses = {record.metrics["loss"] for record in records.values()}
    assert max(losses) - min(losses) < 1e-6


def test_a_trace_by_autograd_gives_the_same_gradient_and_takes_more() -> None:
    both = rows("grads=[backprop,symplectic]", "traces=[tangent,autograd]", *LOOSE)
    assert [record.status for record in both.values()] == ["ok"] * 4
    for name in ("backprop", "symplectic"):
        carried, reverse = both[name], both[f"{name}, autograd trace"]
        assert reverse.metrics["gradient_error_float64"] < 1e-12
        assert reverse.evaluations == carried.evaluations
        assert carried.memory is not None
        assert reverse.memory is not None
        assert reverse.memory["graph_bytes"] > carried.memory["graph_bytes"]


def test_what_a_compiled_row_is_held_against_is_not_compiled() -> None:
    (case, compiled) = small_cases("rows={compiled:['grad=symplectic','compile=true']}")
    plain = Reference.of(BenchProblem.of(case.config))
    same = Reference.of(BenchProblem.of(compiled.config))
    assert plain.grids == same.grids
    assert torch.equal(plain.gradient, same.gradient)


def test_a_model_without_tangents_has_no_second_trace() -> None:
    with pytest.raises(IncompatibleError, match="two ways"):
        hide_formulas(torch.nn.Linear(2, 2))


def test_a_row_holds_counts_memory_and_seconds() -> None:
    record = rows("solver=rk4", "solver.num_steps=3")["symplectic"]
    assert record.kind == "bench"
    assert record.steps == {"accepted": 3, "rejected": 0}
    assert record.evaluations["with_graph"] == record.evaluations["vjps"] == 12
    assert record.memory is not None
    parts = [record.memory[f"{part}_bytes"] for part in ("outputs", "checkpoints", "graph")]
    assert record.memory["peak_bytes"] == sum(parts)
    # 3 steps of a state of 6 x (2 + 1) float32 numbers, and the first derivative, with which the
    # backward pass compares its own; outputs at two times.
    assert parts[:2] == [2 * 6 * 3 * 4, 4 * 6 * 3 * 4]
    for part in ("iteration", "forward", "backward"):
        assert record.seconds[part]["n"] == 2
        assert record.seconds[part]["median"] > 0
    assert record.data["name"] == "mixture-2d"
    assert record.environment["isolated"] is False


def test_methods_differ_in_memory_as_they_should() -> None:
    names = ("backprop", "aca", "symplectic")
    records = rows(f"grads=[{','.join(names)}]", "solver=rk4", "solver.num_steps=12")
    peaks = [(records[name].memory or {})["peak_bytes"] for name in names]
    assert peaks[0] > peaks[1] > peaks[2]


def test_the_batch_and_the_noise_are_the_same_at_every_evaluation() -> None:
    problem = BenchProblem.of(small_cases()[0].config)
    candidate = TorchCandidate(problem)
    candidate.evaluate()
    first, loss = candidate.gradient(), candidate.loss
    candidate.evaluate()
    assert candidate.loss == loss
    assert torch.equal(candidate.gradient(), first)


def test_nothing_can_be_metered_or_compared_where_that_is_asked_for() -> None:
    (case,) = small_cases("measure.memory=none")
    (record,) = measure([case], HOW, None)
    assert record.status == "ok"
    assert record.memory is None
    assert set(record.metrics) == {"loss"}


def test_a_row_whose_steps_differ_from_the_references_has_one_of_its_own() -> None:
    (case,) = small_cases(*LOOSE)
    true = Reference.of(BenchProblem.of(case.config))
    false = replace(true, grids=[[0.0, 1.0]] * 2, gradient=torch.randn_like(true.gradient))
    (record,) = measure([case], HOW, false)
    assert record.metrics["gradient_error_float64"] < 1e-12


def test_the_reference_is_the_gradient_of_the_discrete_solution() -> None:
    (case,) = small_cases(*LOOSE)
    problem = BenchProblem.of(case.config)
    reference = Reference.of(problem)
    true = Reference.of(problem, reference.grids)
    assert torch.equal(reference.gradient, true.gradient)
    # A finite difference along the gradient, on the same steps.
    norm, h = float(reference.gradient.norm()), 1e-4
    losses = []
    for sign in (1, -1):
        shifted = BenchProblem.of(case.config)
        shifted.parts.model.double()
        at = 0
        with torch.no_grad():
            for p in shifted.parts.model.parameters():
                part = reference.gradient[at : at + p.numel()].reshape(p.shape)
                p += sign * h / norm * part
                at += p.numel()
        losses.append(Reference.of(shifted, reference.grids).loss)
    assert (losses[0] - losses[1]) / (2 * h) == pytest.approx(norm, rel=1e-5)


def with_solver(case: Case, **settings: object) -> Case:
    return replace(case, config={**case.config, "solver": {**case.config["solver"], **settings}})


def test_a_failed_row_leaves_the_others_alone() -> None:
    (case,) = small_cases()
    stuck = with_solver(case, max_steps=1)
    wrong = with_solver(case, method="nonsense")
    records = measure([stuck, wrong, case], HOW, None)
    assert [record.status for record in records] == ["step_limit", "error", "ok"]
    assert records[0].error is not None
    assert records[0].error["details"]["phase"] == "forward"
    assert "nonsense" in (records[1].error or {})["message"]


def test_a_row_over_the_memory_budget_is_out_of_memory() -> None:
    records = rows("grads=[backprop,symplectic]", "measure.memory_budget=8KiB")
    assert records["backprop"].status == "oom"
    assert records["symplectic"].status == "ok"


def test_a_loss_that_is_no_number_is_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Density.loss
    monkeypatch.setattr(Density, "loss", lambda *given: whole(*given) * float("nan"))
    (record,) = measure(small_cases(), HOW, None)
    assert record.status == "nonfinite"


def test_a_row_over_its_time_gets_no_more_repetitions() -> None:
    (case,) = small_cases()
    (record,) = measure([case], replace(HOW, repeats=50, time_limit=1e-9), None)
    assert record.status == "ok"
    assert record.seconds["iteration"]["n"] == 1


def test_the_job_of_a_row_gives_its_record_and_its_warnings() -> None:
    (case,) = small_cases("solver.rtol=1e-7", "traces=[autograd]")
    record, messages = measure_job(case, HOW, None)
    (alone,) = measure([case], HOW, None)
    assert record.memory == alone.memory
    assert record.status == "ok"
    assert any("rtol" in warning for warning in messages)


def test_a_reference_can_be_saved_and_read(tmp_path) -> None:
    reference = Reference([[0.0, 0.5, 1.0]], torch.arange(3.0, dtype=torch.float64), 2.5)
    reference.save(tmp_path / "reference.pt")
    loaded = Reference.load(tmp_path / "reference.pt")
    assert loaded.grids == reference.grids
    assert torch.equal(loaded.gradient, reference.gradient)
    assert loaded.loss == 2.5


def test_threads_are_given_for_the_block_alone() -> None:
    before = torch.get_num_threads()
    with given_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_relative_errors_of_zero_gradients() -> None:
    zero, one = torch.zeros(2), torch.ones(2)
    assert relative_error(zero, zero) == 0
    assert relative_error(one, zero) == float("inf")
    assert relative_error(2 * one, one) == 1


def test_weights_of_a_run_take_the_place_of_fresh_ones(tmp_path) -> None:
    (case,) = small_cases("seed=3")
    trained = BenchProblem.of(case.config).parts.model
    save_checkpoint(tmp_path / BEST, {"model": trained.state_dict(), "iteration": 3})
    (other,) = small_cases("seed=4")
    problem = BenchProblem.of(other.config, BenchSettings(weights=str(tmp_path)))
    for mine, theirs in zip(problem.parts.model.parameters(), trained.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    # The batch is still that of the seed.
    assert torch.equal(problem.batch, BenchProblem.of(other.config).batch)


def test_weights_of_another_model_are_refused(tmp_path) -> None:
    (case,) = small_cases()
    (wider,) = small_cases("model.hidden=[7]")
    model = BenchProblem.of(wider.config).parts.model
    save_checkpoint(tmp_path / BEST, {"model": model.state_dict(), "iteration": 3})
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=str(path)):
            BenchProblem.of(case.config, BenchSettings(weights=str(path)))


@pytest.mark.parametrize("device", DEVICES)
def test_in_bfloat16_the_gradient_has_the_error_of_its_digits(device: str) -> None:
    (case,) = small_cases("solver=rk4", "solver.num_steps=3", f"device={device}")
    reference = Reference.of(BenchProblem.of(case.config))
    (record,) = measure([case], replace(HOW, autocast="bfloat16"), reference)
    # 8 bits: far from float32's 1e-7, and still the gradient.
    assert 1e-4 < record.metrics["gradient_error"] < 0.1
    assert record.metrics["gradient_error_float64"] < 1e-12
    assert record.model["autocast"] == "bfloat16"


def test_errors_of_gradient_and_of_discretisation_are_told_apart() -> None:
    cases = small_cases("grads=[symplectic,adjoint]", "dtype=float64", *LOOSE)
    how = replace(HOW, converged=1e-10)
    reference = Reference.of(BenchProblem.of(cases[0].config), tolerance=1e-10)
    exact, adjoint = (record.metrics for record in measure(cases, how, reference))
    assert exact["gradient_error"] < 1e-12
    # What the exact gradient of a coarse solution is off by, the reference is off by too.
    assert reference.converged is not None
    expected = relative_error(reference.gradient, reference.converged)
    assert exact["gradient_error_converged"] == pytest.approx(expected, rel=1e-6)
    assert expected > 1e-5
    assert adjoint["gradient_error_converged"] > 1e-5
