"""Runs that several of the fault tests start from, made once."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest

from tests.faults.runs import COMMANDS, MORE, STEPS, command, flow, looks, outcome


@pytest.fixture(scope="session", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Does everything once in this process, so that no child has anything left to import."""
    out = tmp_path_factory.mktemp("warm")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for name, *arguments in (flow(out, "train.figures=true"), *looks(out / "run").values()):
            assert COMMANDS[name](arguments) == 0


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    """What uninterrupted runs of so many iterations compute."""
    out = tmp_path_factory.mktemp("whole")
    for steps in (STEPS, MORE):
        done = command(flow(out, f"train.steps={steps}", name=str(steps)))
        assert done.code == 0, done.text
    return {steps: outcome(out / str(steps)) for steps in (STEPS, MORE)}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six iterations; tests copy it."""
    out = tmp_path_factory.mktemp("finished")
    assert command(flow(out)).code == 0
    return out / "run"
