from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from symadj.errors import InputError
from symadj.report.cell import Cell
from symadj.report.load import load_runs
from symadj.report.tables import best, differing, latest, pivot, side_by_side
from tests.report.runs import MIB, record, write_run


def runs_of(folder: Path, *changes: dict[str, Any]) -> pd.DataFrame:
    for i, change in enumerate(changes):
        write_run(folder / f"{i:02d}", **change)
    return load_runs([folder]).frame


def only_cell(table: pd.DataFrame) -> Cell:
    assert table.shape == (1, 1)
    return table.iloc[0, 0]


def test_a_cell_is_mean_and_sample_deviation_over_seeds(tmp_path: Path) -> None:
    values = [1.0, 1.5, 2.3]
    runs = runs_of(
        tmp_path, *({"seed": i, "metrics": {"test/nll": v}} for i, v in enumerate(values))
    )
    cell = only_cell(pivot(runs, ["grad"], ["data"], ["nll"]))
    assert cell.mean == pytest.approx(statistics.mean(values))
    assert cell.std == pytest.approx(statistics.stdev(values))
    assert cell.n == 3


def test_headers_have_the_units_and_the_numbers_are_in_them(tmp_path: Path) -> None:
    names = ["nll", "memory", "time", "evaluations", "steps", "gradient_error", "bits_per_dim"]
    table = pivot(runs_of(tmp_path, {}), ["grad"], ["data"], names)
    assert list(table["digits"].columns) == [
        "nll (nats)",
        "memory (MiB)",
        "time (s/iteration)",
        "evaluations (per iteration)",
        "steps (per iteration)",
        "gradient_error (relative)",
        "bits_per_dim (bits/dim)",
    ]
    means = [cell.mean for cell in table.iloc[0]]
    assert means == [1.0, 3.0, 0.5, 25.0, 2.0, None, None]


def test_evaluations_that_build_the_graph_of_backprop_count_once(tmp_path: Path) -> None:
    counts = {"forward": 100, "recomputed": 0, "with_graph": 100, "vjps": 100}
    runs = runs_of(
        tmp_path,
        {"grad": "backprop", "evaluations": counts},
        {"grad": "aca", "evaluations": counts},
    )
    table = pivot(runs, ["grad"], [], ["evaluations"])
    assert [cell.mean for cell in table.iloc[:, 0]] == [10.0, 20.0]


def test_evaluations_of_backprop_count_once_under_any_label(tmp_path: Path) -> None:
    counts = {"forward": 100, "recomputed": 0, "with_graph": 100, "vjps": 100}
    config = record()["config"] | {"grad": {"_target_": "symadj.grad.Backprop"}}
    runs = runs_of(tmp_path, {"grad": "mine", "config": config, "evaluations": counts})
    assert only_cell(pivot(runs, ["grad"], [], ["evaluations"])).mean == 10.0


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("NotInstalled", "incompatible", "not installed"),
        ("TimeLimitExceeded", "interrupted", "time limit"),
        ("ProcessKilled", "interrupted", "killed"),
        ("ProcessCrashed", "error", "crashed"),
        ("MemoryBudgetExceeded", "oom", "OOM"),
    ],
)
def test_a_failure_says_what_ended_the_run_where_that_is_more_than_its_status(
    tmp_path: Path, kind: str, status: str, text: str
) -> None:
    error = {"type": kind, "message": "m", "details": {}, "traceback": ""}
    runs = runs_of(tmp_path, {"kind": "bench", "status": status, "error": error})
    assert str(only_cell(pivot(runs, ["grad"], ["data"], ["time"]))) == text


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("oom", "OOM"),
        ("nonfinite", "non-finite"),
        ("dt_underflow", "step underflow"),
        ("step_limit", "step limit"),
        ("incompatible", "incompatible"),
        ("interrupted", "interrupted"),
        ("error", "error"),
    ],
)
def test_a_failure_is_a_cell_whatever_was_measured_before(
    tmp_path: Path, status: str, text: str
) -> None:
    table = pivot(runs_of(tmp_path, {"status": status}), ["grad"], ["data"], ["memory", "nll"])
    assert [str(cell) for cell in table.iloc[0]] == [text, text]


def test_mixed_outcomes_are_told_together(tmp_path: Path) -> None:
    metrics = [{"metrics": {"test/nll": value}} for value in (1.2, 1.26)]
    runs = runs_of(tmp_path, *metrics, {"status": "oom"}, {"status": "step_limit"})
    cell = only_cell(pivot(runs, ["grad"], ["data"], ["nll"]))
    assert str(cell) == "1.230 ± 0.042 (n=2, 1 OOM, 1 step limit)"


def test_an_infinite_result_is_a_failure_and_spoils_no_mean(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"metrics": {"test/nll": "inf"}}, {})
    cell = only_cell(pivot(runs, ["grad"], ["data"], ["nll"]))
    assert (cell.mean, cell.n, cell.failures) == (1.0, 1, (("non-finite", 1),))


def test_a_missing_combination_is_a_dash(tmp_path: Path) -> None:
    other = {"name": "gas"}
    runs = runs_of(tmp_path, {}, {"grad": "aca"}, {"data": other}, {"memory": None, "data": other})
    table = pivot(runs, ["grad"], ["data"], ["nll"])
    assert str(table.loc["aca", ("gas", "nll (nats)")]) == "–"


def test_a_value_that_a_good_run_lacks_is_a_dash_and_does_not_count(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"memory": None}, {"grad": "aca", "memory": None}, {"grad": "aca"})
    table = pivot(runs, ["grad"], [], ["memory"])
    assert [str(cell) for cell in table["memory (MiB)"]] == ["3 (n=1)", "–"]


def test_any_key_of_record_or_configuration_is_a_row_or_column(tmp_path: Path) -> None:
    changes = []
    for rtol in (1e-5, 0.01, 1e-10):
        config = record()["config"]
        config["solver"]["rtol"] = rtol
        changes.append({"config": config})
    runs = runs_of(tmp_path, *changes)
    table = pivot(runs, ["config.solver.rtol"], ["environment.torch"], ["iterations"])
    assert list(table.index) == ["1e-10", "1e-05", "0.01"]
    assert list(table.columns) == [("2.13.0", "iterations")]
    assert pivot(runs, ["solver.rtol"], [], ["nll"]).shape == (3, 1)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("memory.checkpoints_bytes", "memory.checkpoints_bytes (MiB)"),
        ("metrics.test/nll", "metrics.test/nll (nats)"),
        ("test/nll", "test/nll (nats)"),
        ("seconds.iteration.median", "seconds.iteration.median (s/iteration)"),
        ("seconds.total", "seconds.total (s)"),
        ("seconds.iteration.n", "seconds.iteration.n"),
        ("evaluations.vjps", "evaluations.vjps"),
    ],
)
def test_dotted_names_have_their_units_too(tmp_path: Path, name: str, header: str) -> None:
    table = pivot(runs_of(tmp_path, {}), ["grad"], [], [name])
    assert list(table.columns) == [header]
    assert only_cell(table).mean is not None


def test_a_cell_of_words_lists_them_failed_runs_included(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"seed": 10}, {"seed": 2, "status": "oom"})
    table = pivot(runs, ["grad"], [], ["status", "seed", "config.solver.rtol"])
    assert [str(cell) for cell in table.iloc[0]] == ["ok, oom", "2, 10", "1e-05"]


def test_settings_that_are_null_or_absent_have_a_row_of_their_own(tmp_path: Path) -> None:
    config = record()["config"]
    config["solver"]["grid"] = 5
    runs = runs_of(tmp_path, {}, {"config": config}, {"config": {}})
    table = pivot(runs, ["config.solver.grid"], [], ["nll"])
    assert list(table.index) == ["5", "–"]
    assert [cell.n for cell in table.iloc[:, 0]] == [1, 2]


def test_an_unknown_name_is_answered_with_near_ones(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {})
    with pytest.raises(InputError, match=r"'memry'. Did you mean 'memory'"):
        pivot(runs, ["grad"], ["data"], ["memry"])
    with pytest.raises(InputError, match=r"config\.solver\.rtol"):
        pivot(runs, ["config.solver.rtoll"], [], ["nll"])


def test_methods_stand_in_their_usual_order_and_numbers_by_size(tmp_path: Path) -> None:
    names = ["symplectic", "zeta", "diffrax", "backprop", "alpha"]
    runs = runs_of(tmp_path, *({"grad": name, "seed": 10 - i} for i, name in enumerate(names)))
    table = pivot(runs, ["grad"], ["seed"], ["nll"])
    assert list(table.index) == ["backprop", "symplectic", "diffrax", "alpha", "zeta"]
    assert [column[0] for column in table.columns] == ["6", "7", "8", "9", "10"]


def test_several_names_make_levels_and_only_rows_that_exist(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {}, {"solver": "rk4", "grad": "aca"})
    table = pivot(runs, ["grad", "solver"], ["data", "model"], ["nll"])
    assert table.index.tolist() == [("aca", "rk4"), ("symplectic", "dopri5")]
    assert table.columns.tolist() == [("digits", "CNF", "nll (nats)")]


def test_quartiles_stand_beside_the_time_of_a_single_run_only(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {"grad": "aca"}, {"seed": 1}, {"seed": 2})
    table = pivot(runs, ["grad"], [], ["time", "memory"], quartiles=True)
    assert table.loc["aca", "time (s/iteration)"].quartiles == (0.4, 0.7)
    assert table.loc["aca", "memory (MiB)"].quartiles is None
    assert table.loc["symplectic", "time (s/iteration)"].quartiles is None


def test_no_runs_or_no_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no records"):
        pivot(pd.DataFrame(), ["grad"], [], ["nll"])
    with pytest.raises(InputError, match="at least one name"):
        pivot(runs_of(tmp_path, {}), [], [], ["nll"])


def marked(cells: list[Cell]) -> list[bool]:
    table = pd.DataFrame({"a": cells}, index=pd.RangeIndex(len(cells)))
    return best(table)["a"].tolist()


def test_the_lowest_mean_is_best_of_those_without_failures() -> None:
    survivor = Cell(0.5, None, 1, failures=(("OOM", 1),))
    cells = [Cell(2.0, 0.1, 2), survivor, Cell(1.0, 0.1, 2), Cell(), Cell(1.0, 0.3, 2)]
    assert marked(cells) == [False, False, True, False, True]


def test_what_differs_by_rounding_is_equally_good() -> None:
    assert marked([Cell(v, None, 1) for v in (0.3, 0.3 * (1 + 1e-12), 0.4)]) == [True, True, False]
    assert marked([Cell(0.3, None, 1), Cell(0.3 * (1 + 1e-12), None, 1)]) == [False, False]


def test_nothing_is_best_where_nothing_differs_or_has_no_sense() -> None:
    assert marked([Cell(1.0, None, 1)]) == [False]
    assert marked([Cell(1.0, None, 1), Cell(1.0, None, 1)]) == [False, False]
    assert marked([Cell(word="a"), Cell(word="b")]) == [False, False]
    neutral = [Cell(v, None, 1, lower_is_better=None) for v in (1.0, 2.0)]
    assert marked(neutral) == [False, False]


def test_where_higher_is_better_the_highest_is_best() -> None:
    assert marked([Cell(v, None, 1, lower_is_better=False) for v in (1.0, 2.0)]) == [False, True]


def test_a_failed_run_that_succeeded_later_is_left_out(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path,
        {"status": "oom", "finished": "2026-01-01T10:00:00+00:00"},
        {"metrics": {"test/nll": 7.0}, "finished": "2026-01-01T12:00:00+00:00"},
        {"status": "interrupted", "finished": None},
        {"seed": 1},
    )
    kept, left_out = latest(runs)
    assert left_out == 2
    assert kept["metrics.test/nll"].tolist() == [7.0, 1.0]


def test_the_last_of_several_successes_counts_whatever_its_time_zone(tmp_path: Path) -> None:
    runs = runs_of(
        tmp_path,
        {"finished": "2026-01-01T12:00:00+05:00", "metrics": {"test/nll": 1.0}},
        {"finished": "2026-01-01T08:00:00+00:00", "metrics": {"test/nll": 2.0}},
    )
    kept, _ = latest(runs)
    assert kept["metrics.test/nll"].tolist() == [2.0]


def test_a_run_made_afresh_is_no_second_seed(tmp_path: Path) -> None:
    afresh = record()["config"] | {"fresh": True, "name": "again", "trust": ["mine"]}
    afresh["data"]["data_dir"] = "/elsewhere"
    kept, left_out = latest(runs_of(tmp_path, {}, {"config": afresh}))
    assert (len(kept), left_out) == (1, 1)


def test_other_seeds_settings_and_repeated_benchmarks_all_stay(tmp_path: Path) -> None:
    config = record()["config"]
    config["solver"]["rtol"] = 0.1
    bench = {"kind": "bench"}
    runs = runs_of(tmp_path, {}, {"seed": 1}, {"config": config}, {"grad": "aca"}, bench, bench)
    kept, left_out = latest(runs)
    assert (len(kept), left_out) == (6, 0)


def test_settings_that_differ_within_a_cell_are_told(tmp_path: Path) -> None:
    config = record(seed=1)["config"] | {"out": "elsewhere"}
    config["solver"]["rtol"] = 0.1
    runs = runs_of(tmp_path, {}, {"config": config, "seed": 1}, {"grad": "aca"})
    assert differing(runs, ["grad"], ["data"]) == ["config.solver.rtol"]
    assert differing(runs, ["grad"], ["config.solver.rtol"]) == []


def test_a_table_never_changes_the_runs_it_is_made_of(tmp_path: Path) -> None:
    runs = runs_of(tmp_path, {}, {"grad": "aca", "status": "oom"})
    before = runs.copy(deep=True)
    pivot(runs, ["grad"], ["data"], ["nll", "memory"])
    latest(runs)
    pd.testing.assert_frame_equal(runs, before)


def test_every_row_of_a_large_sweep_ends_up_in_some_cell(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names, statuses = ["aca", "adjoint", "symplectic"], ["ok", "oom", "step_limit"]
    changes = [
        {
            "grad": str(rng.choice(names)),
            "status": str(rng.choice(statuses)),
            "data": {"name": str(rng.choice(["gas", "power"]))},
            "memory": {"peak_bytes": int(rng.integers(1, 9)) * MIB},
        }
        for _ in range(60)
    ]
    table = pivot(runs_of(tmp_path, *changes), ["grad"], ["data"], ["memory"])
    cells = list(table.to_numpy().flat)
    assert sum(cell.n + sum(k for _, k in cell.failures) for cell in cells) == 60


@pytest.mark.parametrize("rows", [["grad"], ["data", "grad"]])
def test_tables_of_different_runs_side_by_side_keep_their_own_failures(
    tmp_path: Path, rows: list[str]
) -> None:
    trained = runs_of(tmp_path / "a", {"grad": "symplectic"}, {"grad": "backprop"})
    measured = runs_of(
        tmp_path / "b", {"grad": "aca"}, {"grad": "backprop", "status": "oom", "memory": None}
    )
    tables = [
        pivot(part, rows, [], cells, counts=False)
        for part, cells in ((trained, ["nll"]), (measured, ["memory", "time"]))
    ]
    whole = side_by_side(tables)
    assert list(whole.index.names) == rows
    assert [row if isinstance(row, str) else row[-1] for row in whole.index] == [
        "backprop",
        "aca",
        "symplectic",
    ]
    texts = [[str(cell) for cell in row] for row in whole.to_numpy()]
    assert texts == [["1", "OOM", "OOM"], ["–", "3", "0.5000"], ["1", "–", "–"]]
