"""Every way to fail has a status that a record holds, a report shows and a sweep can build on."""

from __future__ import annotations

import importlib
import json
import pkgutil
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import symadj
from symadj.errors import SymadjError
from symadj.records.record import RunRecord
from symadj.records.status import Status
from symadj.report.load import load_runs
from tests.faults.runs import FLOW, command, flow, outcome

RECORDED = [status for status in Status if status is not Status.RUNNING]


def every_error() -> list[type[SymadjError]]:
    """All error types of symadj, wherever they are defined."""
    for module in pkgutil.walk_packages(symadj.__path__, "symadj."):
        if ".peers" not in module.name:  # they need other software
            importlib.import_module(module.name)

    def below(kind: type[SymadjError]) -> Iterator[type[SymadjError]]:
        yield kind
        for derived in kind.__subclasses__():
            yield from below(derived)

    return sorted(
        {kind for kind in below(SymadjError) if kind.__module__.startswith("symadj.")},
        key=lambda kind: kind.__name__,
    )


@pytest.mark.parametrize("kind", every_error())
def test_the_status_of_an_error_can_be_recorded_and_read(
    kind: type[SymadjError], tmp_path: Path
) -> None:
    RunRecord("run", status=Status(kind.status)).save(tmp_path / "record.json")
    assert RunRecord.load(tmp_path / "record.json").status == kind.status
    loaded = load_runs([tmp_path])
    assert loaded.skipped == ()
    assert loaded.frame["status"].tolist() == [kind.status]


@pytest.mark.parametrize("status", [status for status in RECORDED if status != "ok"])
def test_a_report_shows_every_failed_status(status: Status, tmp_path: Path) -> None:
    RunRecord("run", status=status, grad="aca").save(tmp_path / "record.json")
    done = command(["report", tmp_path, "--rows", "grad", "--columns", ""])
    assert done.code == 0, done.text
    row = next(line for line in done.out.splitlines() if "aca" in line)
    assert row.count("–") < 3, "a failure is a cell and no gap"


@pytest.mark.parametrize(
    "status",
    [
        pytest.param(status, marks=() if status == "error" else pytest.mark.faults)
        for status in RECORDED
        if status != "ok"
    ],
)
def test_a_sweep_goes_on_from_the_checkpoint_of_every_failed_run(
    status: Status, tmp_path: Path, finished: Path
) -> None:
    # As if the run had failed after its fourth iteration, the last one that was validated.
    short = tmp_path / "short"
    assert command(flow(short, "train.steps=4")).code == 0
    out = tmp_path / "runs"
    shutil.copytree(short / "run", out / "run")
    path = out / "run" / "record.json"
    record = json.loads(path.read_text())
    error = {"type": "X", "message": "planted", "details": {}, "traceback": ""}
    record |= {"status": status, "error": error, "metrics": {}}
    record["config"]["train"]["steps"] = 6
    path.write_text(json.dumps(record))
    config = out / "run" / "config.yaml"
    config.write_text(config.read_text().replace("steps: 4", "steps: 6"))

    done = command(["train", "-m", *FLOW, f"out={out}"])
    assert done.code == 0, done.text
    assert [p.name for p in out.glob("[!.]*")] == ["run"]
    assert "resumed" in done.out
    assert outcome(out / "run") == outcome(finished)
