from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from symadj.errors import InputError
from symadj.report.load import (
    SkippedFileWarning,
    load_histories,
    load_rollouts,
    load_runs,
)
from tests.report.runs import HEADER, MIB, record, straight, write_run


def test_a_record_becomes_one_row_of_dotted_columns(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a")
    row = load_runs([tmp_path]).frame.iloc[0]
    assert row["path"] == str(path)
    assert row["status"] == "ok"
    assert row["config.solver.rtol"] == 1e-5
    assert row["config.model.hidden"] == "[64, 64]"
    assert row["metrics.test/nll"] == 1.0
    assert row["memory.peak_bytes"] == 3 * MIB
    assert row["seconds.iteration.median"] == 0.5


def test_sources_of_any_kind_meet_each_record_once(tmp_path: Path) -> None:
    deep = write_run(tmp_path / "sweep" / "one" / "a")
    write_run(tmp_path / "sweep" / "b")
    write_run(tmp_path / "c")
    pattern = str(tmp_path / "sweep" / "*")
    loaded = load_runs([tmp_path / "sweep", deep, deep.parent, pattern, str(tmp_path / "c")])
    assert len(loaded.frame) == 3
    assert loaded.skipped == ()


def test_a_link_to_a_run_is_the_same_run(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    assert len(load_runs([tmp_path / "a", tmp_path / "again"]).frame) == 1


def test_a_name_with_magic_letters_is_taken_as_it_stands(tmp_path: Path) -> None:
    write_run(tmp_path / "a[1]")
    assert len(load_runs([tmp_path / "a[1]"]).frame) == 1


@pytest.mark.parametrize("source", ["no_such_run", "no_such_*"])
def test_a_source_that_is_not_there_is_refused_by_name(tmp_path: Path, source: str) -> None:
    with pytest.raises(InputError, match="no_such"):
        load_runs([tmp_path / source])


BAD_FILES = {
    "truncated": (json.dumps(record())[:200].encode(), "no JSON"),
    "empty": (b"", "no JSON"),
    "binary": (b"\x80\x02\xff\xfe", "utf-8"),
    "foreign": (b'{"name": "package", "version": "1.0"}', "no JSON object with a schema"),
    "list": (b"[1, 2]", "no JSON object with a schema"),
    "newer": (json.dumps(record(schema=2)).encode(), "schema 2"),
    "status": (json.dumps(record(status="fine")).encode(), "status 'fine'"),
    "lacking": (b'{"schema": 1, "name": "x"}', "missing"),
    "metric": (json.dumps(record(metrics={"test/nll": [1]})).encode(), "test/nll"),
    "huge": (json.dumps(record(metrics={"a": 10**400})).encode(), "metric a is 1000"),
    "deep": (b'{"schema": 1, "config": ' + b'{"a":' * 100_000 + b"}" * 100_001, ""),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_named_and_skipped_with_a_warning(tmp_path: Path, kind: str) -> None:
    content, reason = BAD_FILES[kind]
    write_run(tmp_path / "good")
    bad = tmp_path / "bad" / "record.json"
    bad.parent.mkdir()
    bad.write_bytes(content)
    with pytest.warns(SkippedFileWarning, match="bad/record.json"):
        loaded = load_runs([tmp_path])
    assert [Path(path).parent.name for path in loaded.frame["path"]] == ["good"]
    (skipped,) = loaded.skipped
    assert skipped.path == bad
    assert reason in skipped.reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
def test_a_pipe_in_the_place_of_a_record_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    with pytest.warns(SkippedFileWarning, match="no regular file"):
        assert load_runs([tmp_path]).frame.empty


def test_a_file_far_too_large_is_not_read(tmp_path: Path) -> None:
    with open(tmp_path / "record.json", "wb") as file:
        file.truncate(100 * MIB)
    with pytest.warns(SkippedFileWarning, match="too large"):
        load_runs([tmp_path])


def test_a_run_directory_that_lost_its_record_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "lost"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 0")
    (folder / "history.csv").write_text("iteration\n")
    with pytest.warns(SkippedFileWarning, match=r"lost.*without its record.json"):
        loaded = load_runs([tmp_path])
    assert len(loaded.skipped) == 1


@pytest.mark.filterwarnings("error")
def test_other_files_beside_runs_are_no_reason_to_warn(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (tmp_path / "notes.json").write_text("{")
    (tmp_path / "config.yaml").write_text("a: 1")
    assert len(load_runs([tmp_path]).frame) == 1


def test_failed_and_cut_off_runs_are_rows_too(tmp_path: Path) -> None:
    error = {"type": "MemoryBudgetExceeded", "message": "m", "details": {}, "traceback": "long"}
    write_run(tmp_path / "a", status="oom", error=error, memory=None)
    write_run(tmp_path / "b", status="interrupted", finished=None, metrics={}, seconds={})
    frame = load_runs([tmp_path]).frame.set_index("status")
    assert frame.loc["oom", "error.type"] == "MemoryBudgetExceeded"
    assert "error.traceback" not in frame
    assert set(frame.index) == {"oom", "interrupted"}


def test_a_run_that_ended_before_it_had_names_gets_them_from_its_configuration(
    tmp_path: Path,
) -> None:
    early = {"data": {}, "model": {}, "solver": "", "status": "incompatible"}
    config = record(grad="aca", seed=3)["config"]
    write_run(tmp_path / "a", **early, grad="", config=config)
    write_run(tmp_path / "b")
    row = load_runs([tmp_path]).frame.set_index("status").loc["incompatible"]
    assert row["grad"] == "aca"
    assert row["solver"] == "dopri5"
    assert row["model.name"] == "CNF"
    assert row["data.name"] == "digits"


def test_data_is_named_after_its_class_where_no_other_run_tells(tmp_path: Path) -> None:
    write_run(tmp_path / "a", data={}, status="error")
    assert load_runs([tmp_path]).frame["data.name"].tolist() == ["digits"]


def test_infinite_numbers_that_json_cannot_hold_are_numbers_again(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seconds={"total": "inf"}, config={"name": "inf"})
    row = load_runs([tmp_path]).frame.iloc[0]
    assert row["seconds.total"] == np.inf
    assert row["config.name"] == "inf"


def test_reading_a_run_imports_nothing_that_its_configuration_names(tmp_path: Path) -> None:
    (tmp_path / "canary_module.py").write_text("raise SystemExit('imported')")
    write_run(tmp_path / "a", config={"model": {"_target_": "canary_module.Model"}})
    sys.path.insert(0, str(tmp_path))
    try:
        frame = load_runs([tmp_path]).frame
    finally:
        sys.path.remove(str(tmp_path))
    assert frame["config.model._target_"].tolist() == ["canary_module.Model"]
    assert "canary_module" not in sys.modules


def test_histories_are_joined_by_the_path_of_the_record(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", straight(3, 1.0))
    write_run(tmp_path / "b", straight(2, 2.0))
    write_run(tmp_path / "none")
    histories = load_histories(load_runs([tmp_path]).frame).frame
    assert len(histories) == 5
    assert histories.loc[histories["path"] == str(a), "loss"].tolist() == [1.0] * 3


def test_a_history_cut_off_in_a_row_keeps_the_rows_before(tmp_path: Path) -> None:
    path = write_run(tmp_path / "a", straight(3, 1.0))
    history = path.with_name("history.csv")
    history.write_text(history.read_text() + "4,4.0,1.")
    histories = load_histories(load_runs([tmp_path]).frame)
    assert histories.frame["iteration"].tolist() == [1, 2, 3]
    assert histories.skipped == ()


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff\xfe", b"a,b\n1,2\n", b"iteration,loss\n1,2\n"], ids=repr
)
def test_a_bad_history_is_named_and_skipped(tmp_path: Path, content: bytes) -> None:
    write_run(tmp_path / "a").with_name("history.csv").write_bytes(content)
    runs = load_runs([tmp_path]).frame
    with pytest.warns(SkippedFileWarning, match="history.csv"):
        loaded = load_histories(runs)
    assert loaded.frame.empty
    assert len(loaded.skipped) == 1


def test_words_where_numbers_belong_are_missing_values(tmp_path: Path) -> None:
    rows = ["1,1.0,oops,1,1,1,1,1,1,0,0.1,,", "two,2.0,1,1,1,1,1,1,1,0,0.1,,"]
    text = "\n".join([",".join(HEADER), *rows])
    write_run(tmp_path / "a").with_name("history.csv").write_text(text)
    frame = load_histories(load_runs([tmp_path]).frame).frame
    assert frame["iteration"].tolist() == [1]
    assert frame["loss"].isna().all()


def test_roll_outs_are_joined_by_the_path_of_the_record(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a")
    a.with_name("rollout.csv").write_text("t,reached,state_mse\n0,1,0\n0.5,1,0.25\n1,0.5")
    write_run(tmp_path / "b")
    loaded = load_rollouts(load_runs([tmp_path]).frame)
    assert loaded.frame["path"].tolist() == [str(a)] * 2
    assert loaded.frame["state_mse"].tolist() == [0, 0.25], "a torn last row is left out"
    a.with_name("rollout.csv").write_text("t,reached\n0,1\n")
    with pytest.warns(SkippedFileWarning, match=r"rollout\.csv.*state_mse"):
        assert load_rollouts(load_runs([tmp_path]).frame).frame.empty
    a.with_name("rollout.csv").write_bytes(b"")
    with pytest.warns(SkippedFileWarning, match="cannot be read"):
        load_rollouts(load_runs([tmp_path]).frame)


def test_control_characters_and_half_letters_of_a_record_are_escapes(tmp_path: Path) -> None:
    write_run(tmp_path / "a", name="bad\x1b[2J\u202e", grad="aca\ud800")
    frame = load_runs([tmp_path]).frame
    assert frame["name"][0] == r"bad\x1b[2J\u202e"
    assert frame["grad"][0] == r"aca\ud800"


def test_guidings_of_a_run_are_read_where_they_are_named(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "a" / "guided" / "b", kind="guide")
    assert list(load_runs([tmp_path]).frame["kind"]) == ["train"]
    assert list(load_runs([tmp_path / "a" / "guided"]).frame["kind"]) == ["guide"]
