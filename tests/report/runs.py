"""Hand-written run directories: a record, and a history where asked for."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MIB = 2**20
HEADER = [
    *("iteration", "wall", "loss", "seconds", "forward", "recomputed", "with_graph", "vjps"),
    *("accepted", "rejected", "lr", "val_nll", "memory_bytes"),
]


def record(**changes: Any) -> dict[str, Any]:
    """A whole record of a training that went well, with these changes."""
    grad, seed = changes.get("grad", "symplectic"), changes.get("seed", 0)
    values: dict[str, Any] = {
        "schema": 1,
        "kind": "train",
        "name": "run",
        "status": "ok",
        "error": None,
        "started": "2026-01-01T10:00:00+00:00",
        "finished": "2026-01-01T10:01:00+00:00",
        "config": {
            "seed": seed,
            "out": "somewhere",
            "grad": {"_target_": f"symadj.grad.{str(grad).title()}"},
            "solver": {"method": "dopri5", "rtol": 1e-5, "grid": None},
            "data": {"_target_": "symadj.data.digits.Digits", "seed": seed},
            "model": {"_target_": "symadj.models.cnf.CNF", "hidden": [64, 64]},
        },
        "environment": {"torch": "2.13.0", "threads": 1},
        "data": {"name": "digits", "dim": 64, "note": "", "train": 9, "val": 1, "test": 1},
        "model": {"name": "CNF", "parameters": 10},
        "solver": "dopri5",
        "grad": grad,
        "seed": seed,
        "iterations": 10,
        "metrics": {"train/loss": 2.0, "test/nll": 1.0},
        "memory": {"meter": "dispatch", "peak_bytes": 3 * MIB, "checkpoints_bytes": MIB},
        "seconds": {"iteration": {"median": 0.5, "q1": 0.4, "q3": 0.7, "n": 9}, "total": 6.0},
        "evaluations": {"forward": 100, "recomputed": 50, "with_graph": 100, "vjps": 100},
        "steps": {"accepted": 20, "rejected": 10},
    }
    return values | changes


def write_run(folder: Path, history: Sequence[Mapping[str, Any]] = (), **changes: Any) -> Path:
    """Makes a run directory and returns its record's path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "record.json"
    path.write_text(json.dumps(record(**changes)))
    if history:
        with open(folder / "history.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(HEADER)
            writer.writerows([row.get(name, 0) for name in HEADER] for row in history)
    return path


def straight(n: int, level: float, seconds: float = 1.0) -> list[dict[str, float]]:
    """A history of constant loss, with 10 forward evaluations and 30 more in each iteration."""
    return [
        {
            "iteration": i,
            "wall": seconds * i,
            "loss": level,
            "seconds": seconds,
            "forward": 10,
            "recomputed": 20,
            "with_graph": 10,
            "lr": 1e-3,
        }
        for i in range(1, n + 1)
    ]
