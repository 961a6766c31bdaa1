from __future__ import annotations

import math
from pathlib import Path

import pytest

from symadj.records.record import RunRecord
from symadj.records.status import Status
from symadj.run.summary import summary


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.23456, "1.2346"),
        (-0.31, "-0.3100"),
        (4.68e-6, "4.68e-06"),
        (0.00123456, "0.001235"),
        (123456789.5, "1.235e+08"),
        (500.0, "500"),
        (0.0, "0"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_a_metric_shows_its_first_digits(value: float, text: str, tmp_path: Path) -> None:
    record = RunRecord(name="r", status=Status.OK, metrics={"test/score": value})
    (line,) = [s for s in summary(record, tmp_path).splitlines() if "test/score" in s]
    assert line.split() == ["test/score", text]
