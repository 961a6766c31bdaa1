"""Records into tables and a chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from symadj.bench.report import (
    COST,
    DETAILS,
    Measured,
    chart,
    frame,
    markdown,
    raw,
    table,
    write_tables,
)
from symadj.config.bench import BenchSettings
from symadj.records.record import RunRecord

MIB = 2**20


def record(grad: str, median: float | None, peak: int, off: float, **changes: Any) -> RunRecord:
    four = {"median": median, "q1": median, "q3": median, "n": 3}
    values = {
        "name": grad,
        "kind": "bench",
        "status": "ok",
        "grad": grad,
        "solver": "dopri5",
        "iterations": 1,
        "config": {
            "train": {"batch_size": 7},
            "solver": {"num_steps": None},
            "grad": {"_target_": "symadj.grad.ACA"},
        },
        "metrics": {"gradient_error": off, "gradient_error_float64": 1e-15},
        "memory": {
            "meter": "dispatch",
            "peak_bytes": peak,
            "outputs_bytes": MIB,
            "checkpoints_bytes": 0,
            "graph_bytes": peak - MIB,
        },
        "seconds": {"iteration": four, "forward": four, "backward": four},
        "evaluations": {"forward": 10, "recomputed": 0, "with_graph": 8, "vjps": 8},
        "steps": {"accepted": 2, "rejected": 1},
    }
    return RunRecord(**{**values, **changes})


def failure(kind: str, status: str, grad: str = "checkpoint") -> RunRecord:
    error = {"type": kind, "message": f"because of {kind}", "details": {}, "traceback": ""}
    return record(grad, None, MIB, 0.0, status=status, error=error)


def measured(*records: RunRecord) -> Measured:
    return Measured("dopri5, batch 7", BenchSettings(), list(records))


def test_cells_have_their_units_and_the_best_of_a_column_is_marked() -> None:
    text = markdown(
        [measured(record("aca", 2.0, 4 * MIB, 1.234e-7), record("symplectic", 3.0, MIB, 2e-7))]
    )
    lines = {line.split("|")[1].strip(): line for line in text.splitlines() if line[:1] == "|"}
    assert "peak memory (MiB)" in text
    head = text.split("where it goes")[0]
    assert "**2 [2, 2]**" in head
    assert "**1**" in head
    assert "**1.234e-7**" in head
    assert "e-15**" not in text
    assert set(lines) >= {"aca", "symplectic", "method"}


def test_another_tableau_in_the_place_of_ours_is_told() -> None:
    own = record("symplectic", 1.0, MIB, 0.0, solver="dop853")
    other = record("diffrax", 1.0, MIB, 0.0, solver="dopri8")
    assert "in its place stands dopri8" in markdown([measured(own, other)]).lower()
    assert "dopri8" not in markdown([measured(own)])


def test_evaluations_of_backpropagation_are_counted_once() -> None:
    backprop = record("backprop", 1.0, MIB, 0.0)
    backprop.config["grad"]["_target_"] = "symadj.grad.Backprop"
    backprop.evaluations = {"forward": 10, "recomputed": 0, "with_graph": 10, "vjps": 9}
    cells = table(measured(backprop, record("aca", 1.0, MIB, 0.0)), DETAILS)["evaluations"]
    assert [cell.mean for cell in cells] == [10, 18]


def test_a_failure_is_a_cell_and_a_note() -> None:
    kinds = {
        ("MemoryBudgetExceeded", "oom"): "OOM",
        ("MaxStepsExceeded", "step_limit"): "step limit",
        ("NotInstalled", "incompatible"): "not installed",
        ("TimeLimitExceeded", "interrupted"): "time limit",
        ("ProcessKilled", "interrupted"): "killed",
        ("ValueError", "error"): "error",
    }
    for (kind, status), word in kinds.items():
        group = measured(failure(kind, status), record("aca", 2.0, MIB, 1e-7))
        cells = table(group, COST).loc["checkpoint"]
        assert {str(cell) for cell in cells} == {word}
        assert f"because of {kind}" in markdown([group])
        assert list(raw(frame([group]))["status"]) == [word, "ok"]


def test_what_was_not_measured_is_a_dash() -> None:
    nothing = {"median": None, "q1": None, "q3": None, "n": 0}
    times = {"iteration": {**nothing, "median": 1.0, "q1": 1.0, "q3": 1.0}, "forward": nothing}
    diffrax = record(
        "diffrax",
        1.0,
        MIB,
        1e-7,
        seconds={**times, "backward": nothing},
        evaluations={},
        memory={"meter": "xla", "peak_bytes": MIB, "outputs_bytes": None},
        metrics={},
    )
    cost, details = (
        table(measured(diffrax), columns).loc["diffrax"] for columns in (COST, DETAILS)
    )
    assert str(cost["forward (s)"]) == "–"
    assert str(cost["gradient error"]) == "–"
    assert str(details["evaluations"]) == "–"
    assert str(details["outputs (MiB)"]) == "–"
    assert str(details["steps"]) == "2"
    assert "XLA" in markdown([measured(diffrax)])


def test_a_narrow_table_has_the_quartiles_of_the_whole_alone() -> None:
    head = markdown([measured(record("aca", 2.0, MIB, 1e-7))], wide=False).split("where")[0]
    assert head.count("[2, 2]") == 1


def test_the_files_hold_all_groups(tmp_path: Path) -> None:
    one, two = measured(record("aca", 2.0, MIB, 1e-7)), measured(failure("E", "oom", "aca"))
    two.title = "rk4, batch 7"
    two.warn(["odd", "odd"])
    files = write_tables([one, two], tmp_path)
    names = {path.name for path in files}
    assert names == {"table.csv", "table.md", "table.tex", "bars.png", "bars.pdf"}
    numbers = pd.read_csv(tmp_path / "table.csv")
    assert list(numbers["memory.peak_bytes"]) == [MIB, MIB]
    assert list(numbers["batch"]) == [7, 7]
    latex = (tmp_path / "table.tex").read_text()
    assert latex.count(r"\toprule") == 4
    assert "rk4, batch 7" in latex
    assert (tmp_path / "table.md").read_text().count("warning: odd") == 1


def test_the_chart_has_a_row_of_panels_for_each_group_and_names_failures() -> None:
    one, two = (
        measured(record("aca", 2.0, MIB, 1e-7)),
        measured(failure("TimeLimitExceeded", "oom")),
    )
    two.title = "rk4, batch 7"
    figure = chart(frame([one, two]))["bars"]
    assert len(figure.axes) == 4
    texts = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert "time limit" in texts


def test_without_a_single_figure_there_is_no_chart() -> None:
    assert chart(frame([measured(failure("E", "oom"))])) == {}
