from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symadj.errors import InputError
from symadj.records.record import RunRecord
from symadj.records.status import Status

RECORDED = [status for status in Status if status is not Status.RUNNING]


def record(**changes) -> RunRecord:
    return RunRecord(**{"name": "r", "status": "ok", "metrics": {"test/nll": 1.5}, **changes})


@given(st.dictionaries(st.text(), st.floats()), st.sampled_from(RECORDED), st.integers(0, 9))
def test_a_record_reads_back_as_it_was(
    metrics: dict[str, float], status: Status, seed: int
) -> None:
    before = record(metrics=metrics, status=status, seed=seed, error={"type": "X", "details": {}})
    after = RunRecord.from_json(before.to_json())
    assert repr(after) == repr(before)


def test_the_file_is_strict_json(tmp_path: Path) -> None:
    record(metrics={"val/nll": math.nan}, error={"details": {"largest": math.inf}}).save(
        tmp_path / "record.json"
    )

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    text = (tmp_path / "record.json").read_text()
    values = json.loads(text, parse_constant=refuse)
    assert values["schema"] == 1
    assert values["error"]["details"]["largest"] == "inf"
    assert math.isnan(RunRecord.load(tmp_path / "record.json").metrics["val/nll"])


def test_a_record_is_interrupted_until_it_is_not() -> None:
    assert RunRecord(name="killed").status == "interrupted"


def broken(**changes) -> str:
    values = json.loads(record().to_json())
    for key, value in changes.items():
        if value is ...:
            del values[key]
        else:
            values[key] = value
    return json.dumps(values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no JSON"),
        ('{"schema": 1, "kind', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "schema"),
        (broken(schema=2), "schema 2"),
        (broken(status="fine"), "'fine'"),
        (broken(metrics=...), "metrics missing"),
        (broken(metrics=3), "metrics is 3"),
        (broken(metrics={"a": None}), "metric a is None"),
        (broken(extra=1), "unknown extra"),
        (broken(iterations="many"), "iterations"),
    ],
)
def test_a_file_that_is_no_record_is_refused_by_name(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as raised:
        RunRecord.load(path)
    assert str(path) in str(raised.value)


def test_a_missing_or_binary_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        RunRecord.load(tmp_path / "record.json")
    (tmp_path / "record.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match=r"record\.json"):
        RunRecord.load(tmp_path / "record.json")
