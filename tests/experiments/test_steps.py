"""Thousands of steps and samples: what grows, what is constant, where the curves cross."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

import steps
from harness import main
from harness.results import FILE

NS = (10, 100, 1000)


def runs(memory: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """MiB at every N, by method."""
    return pd.DataFrame(
        [
            {"status": "ok", "grad": grad, "N": n, "memory.peak_bytes": value * 2**20}
            for grad, values in memory.items()
            for n, value in zip(NS, values, strict=True)
        ]
    )


def test_the_crossing_is_told_by_the_fit_and_by_the_points_around_it() -> None:
    told = steps.crossings(
        runs(
            {
                "adjoint": (2.0, 2.0, 2.0),
                "symplectic": (1.05, 1.5, 6.0),  # 1 + N / 200
                "symplectic_stages": (2.5, 4.0, 19.0),
                steps.REVOLVE: (1.05, 1.25, 1.25),
            }
        )
    )
    assert "store=steps from N = 200 on (linear fit; measured: between 100 and 1,000)" in told
    assert "store=stages at every N, from 10 on" in told
    assert told.endswith("store=revolve with 50 slots at no N up to 1,000.")
    assert steps.crossings(runs({"symplectic": (1.0, 2.0, 3.0)})) == ""


def test_a_method_that_failed_has_no_crossing() -> None:
    frame = runs({"adjoint": (2.0, 2.0, 2.0), "symplectic": (1.0, 2.0, 3.0)})
    frame.loc[frame["grad"] == "adjoint", "status"] = "oom"
    assert steps.crossings(frame) == ""


def test_quotients_and_how_constant_they_are() -> None:
    rows = [
        {"grad": "symplectic", "status": "ok", axis: count, "seconds.iteration.median": time}
        for axis, count, time in (
            ("N", 10, 0.011),
            ("N", 1000, 1.0),
            ("batch", 100, 0.02),
            ("batch", 400, 0.04),
        )
    ]
    frame = steps.with_quotients(pd.DataFrame(rows))
    assert [round(ms, 9) for ms in frame["metrics.time per step (ms)"][:2]] == [1.1, 1.0]
    told = steps.constancy(pd.DataFrame(frame[:2]), "N")
    assert told == "Largest over smallest time per step: symplectic 1.1."
    assert "time per sample: symplectic 2." in steps.constancy(pd.DataFrame(frame[2:]), "batch")


def test_every_store_along_the_steps_and_those_that_do_not_recompute_along_the_batch(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(steps, "SHORT", 3)
    assert main(steps.EXPERIMENT, ["--preset", "smoke", "--out", str(tmp_path)]) == 0
    cells = json.loads((tmp_path / FILE).read_text())["cells"]
    counted = [(c["labels"]["axis"], c["labels"].get("N"), c["record"]["grad"]) for c in cells]
    growing = [("N", 2, grad) for grad in steps.GROWING]
    assert all(entry in counted for entry in growing)
    assert not any(entry in counted for entry in [("N", 4, grad) for grad in steps.GROWING])
    assert sum(grad == steps.REVOLVE for _, _, grad in counted) == 2
    (revolve, *_) = [c["record"] for c in cells if c["record"]["grad"] == steps.REVOLVE]
    assert revolve["config"]["grad"]["slots"] == steps.SLOTS
    assert {"steps.md", "batch.md", "growth.md", "steps.png", "batch.png"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert "more memory than the adjoint method:" in (tmp_path / "steps.md").read_text()
