"""A benchmark as a whole: its directory, its rows in processes of their own, its failures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from symadj.bench import run
from symadj.bench.cases import Case
from symadj.bench.run import bench
from symadj.errors import InputError
from symadj.records.record import RunRecord
from symadj.records.status import Status
from symadj.report.load import load_runs
from symadj.run.process import Ending
from tests.bench.small import small


def test_it_leaves_tables_a_chart_and_a_record_for_each_row(tmp_path: Path, capsys) -> None:
    config = small("grads=[aca,symplectic]", "batch=[4,6]", f"out={tmp_path}", "name=it")
    result = bench(config)
    assert result.status == "ok"
    assert result.directory == tmp_path / "it"
    names = {path.name for path in result.directory.iterdir()}
    assert {"config.yaml", "table.csv", "table.md", "table.tex", "bars.png"} <= names
    loaded = load_runs([result.directory])
    assert not loaded.skipped
    frame = loaded.frame
    assert sorted(frame["config.train.batch_size"]) == [4, 4, 6, 6]
    assert set(frame["grad"]) == {"aca", "symplectic"}
    assert set(frame["kind"]) == {"bench"}
    assert list(pd.read_csv(result.directory / "table.csv")["method"]) == ["aca", "symplectic"] * 2
    out = capsys.readouterr().out
    assert "[4/4] symplectic" in out
    assert "gradient error (float64)" in out


def test_rows_in_processes_of_their_own_are_the_same(tmp_path: Path) -> None:
    together = bench(small(f"out={tmp_path}", "name=together"))
    alone = bench(small(f"out={tmp_path}", "name=alone", "isolate=true"))
    (one,), (other,) = together.records, alone.records
    assert other.status == "ok"
    assert other.environment["isolated"] is True
    assert other.environment["command"] == one.environment["command"]
    assert other.metrics == one.metrics
    assert other.memory == one.memory
    assert other.evaluations == one.evaluations


def test_a_row_over_its_time_is_a_cell(tmp_path: Path) -> None:
    endless = ("solver=rk4", "solver.num_steps=1000000", "solver.max_steps=1000000")
    config = small(f"out={tmp_path}", *endless, "isolate=true", "time_limit=1", "compare=false")
    result = bench(config)
    (record,) = result.records
    assert record.status == "interrupted"
    assert record.data["name"] == "mixture-2d"
    assert result.status == "error"
    assert "time limit" in (result.directory / "table.md").read_text()


def test_a_reference_that_fails_is_a_note_and_no_failure_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise MemoryError("too large")

    monkeypatch.setattr(run, "reference_job", fail)
    result = bench(small(f"out={tmp_path}"))
    assert [record.status for record in result.records] == ["ok"]
    told = "no gradient errors: the reference failed (MemoryError: too large)"
    assert told in capsys.readouterr().err
    assert told in (result.directory / "table.md").read_text()


def test_a_killed_row_does_not_end_the_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = {"type": "ProcessKilled", "message": "killed", "details": {}, "traceback": ""}
    monkeypatch.setattr(
        run, "run_isolated", lambda *_, **__: Ending(Status.INTERRUPTED, error=killed)
    )
    result = bench(small(f"out={tmp_path}", "grads=[aca,symplectic]", "isolate=true"))
    assert [record.status for record in result.records] == ["interrupted", "interrupted"]
    assert RunRecord.load(result.directory / "aca" / "record.json").error == killed


def test_a_peer_that_is_not_installed_is_a_cell_that_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "find_spec", lambda name: None)
    result = bench(small(f"out={tmp_path}", "peers=[torchdiffeq]"))
    assert result.status == "ok"
    statuses = {record.grad: record.status for record in result.records}
    assert statuses == {"symplectic": "ok", "torchdiffeq": "incompatible"}
    text = (result.directory / "table.md").read_text()
    assert "not installed" in text
    assert "pip install 'symadj[peers]'" in text


def test_the_tables_of_an_interrupted_benchmark_hold_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, case: Case, *rest: object) -> RunRecord:
        if case.label == "symplectic":
            raise KeyboardInterrupt
        return original(self, case, *rest)  # type: ignore[arg-type]

    original = run._Bench._alone
    monkeypatch.setattr(
        run,
        "run_isolated",
        lambda *_, **__: Ending(Status.OUT_OF_MEMORY, error={"type": "E", "message": "m"}),
    )
    monkeypatch.setattr(run._Bench, "_alone", interrupted)
    config = small(f"out={tmp_path}", "name=it", "grads=[aca,symplectic]", "isolate=true")
    with pytest.raises(KeyboardInterrupt):
        bench(config)
    assert list(pd.read_csv(tmp_path / "it" / "table.csv")["method"]) == ["aca"]


def test_a_wrong_setting_is_refused_before_a_directory_is_made(tmp_path: Path) -> None:
    for override in ("model.activation=sine", "solver.safety=7", "train.batch_size=0"):
        with pytest.raises(InputError):
            bench(small(f"out={tmp_path}", override))
    assert list(tmp_path.iterdir()) == []


def test_a_solver_that_lacks_its_steps_is_a_row_beside_those_that_run(tmp_path: Path) -> None:
    result = bench(small(f"out={tmp_path}", "solvers=[rk4,dopri5]"))
    assert [record.status for record in result.records] == ["incompatible", "ok"]
    with pytest.raises(InputError, match="num_steps"):
        bench(small(f"out={tmp_path}", "solvers=[rk4]"))


def test_gradients_are_compared_only_where_that_is_asked_for(tmp_path: Path) -> None:
    (record,) = bench(small(f"out={tmp_path}", "name=plain", "compare=false")).records
    assert record.status == "ok"
    assert set(record.metrics) == {"loss"}
    both = small(f"out={tmp_path}", "name=both", "converged=1e-8", "solver=euler", "steps=[4]")
    (record,) = bench(both).records
    assert record.metrics["gradient_error_converged"] > record.metrics["gradient_error"]
    assert "rtol = atol = 1e-08" in (tmp_path / "both" / "table.md").read_text()
