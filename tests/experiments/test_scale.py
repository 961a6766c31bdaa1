"""Thousands of steps and samples: what is constant."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

import scale
from harness import main
from harness.results import FILE


def test_quotients_and_how_constant_they_are() -> None:
    rows = [
        {
            "grad": "symplectic",
            "status": "ok",
            "axis": axis,
            axis: count,
            "seconds.iteration.median": time,
            "memory.peak_bytes": 2.0**20 * count,
        }
        for axis, count, time in (
            ("N", 10, 0.011),
            ("N", 1000, 1.0),
            ("batch", 100, 0.02),
            ("batch", 400, 0.04),
        )
    ]
    runs = scale.with_quotients(pd.DataFrame(rows))
    assert list(runs["metrics.time per step (us)"][:2]) == [1100, 1000]
    assert list(runs["metrics.memory per sample (KiB)"][2:]) == [1024, 1024]
    row = scale.spread_table(runs).loc["symplectic"]
    assert row["time per step: spread"] == "1.1"
    assert row["time per sample: spread"] == "2"
    assert row["memory over N (MiB)"] == "10 to 1e+03"


def test_every_store_along_the_steps_and_two_along_the_batch(tmp_path: Path) -> None:
    assert main(scale.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)]) == 0
    cells = json.loads((tmp_path / FILE).read_text())["cells"]
    counted = [(cell["labels"]["axis"], cell["record"]["grad"]) for cell in cells]
    assert counted.count(("N", scale.REVOLVE)) == 2
    assert counted.count(("batch", scale.REVOLVE)) == 0
    (revolve, *_) = [c["record"] for c in cells if c["record"]["grad"] == scale.REVOLVE]
    assert revolve["config"]["grad"]["slots"] == scale.SLOTS
    assert {"steps.md", "batch.md", "spread.md", "scale.png"} <= {
        p.name for p in tmp_path.iterdir()
    }
