"""Table 1: presets, and that the counts are the formulas."""

from __future__ import annotations

from pathlib import Path

import pytest

import table1
from harness.at_once import main


def run(*arguments: object) -> int:
    return main(table1.EXPERIMENT, [str(argument) for argument in arguments])


def test_counts_meet_their_formulas_and_the_tables_are_redrawn(tmp_path: Path) -> None:
    assert run("--preset", "smoke", "--out", tmp_path) == 0
    names = ("evaluations.md", "memory.md", "figures.md", "memory.png")
    written = {name: (tmp_path / name).read_bytes() for name in names}
    counted = written["evaluations.md"].decode()
    assert "NOT MET" not in counted
    assert "1 (M, the look)" in counted
    assert "48 (N(s-1)M)" in counted
    rows = [line.split("|")[1].strip() for line in counted.splitlines() if line.startswith("| ")]
    assert rows == ["gradient", "adjoint", "backprop", "checkpoint", "aca", "symplectic"]
    growth = written["memory.md"].decode()
    symplectic = next(line for line in growth.splitlines() if line.startswith("| symplectic"))
    # One state a step and component, and no more.
    assert symplectic.count("1.00 (1)") == 2
    assert "symadj" in written["figures.md"].decode()
    for name in names:
        (tmp_path / name).unlink()
    assert run("--redraw", "--out", tmp_path) == 0
    assert {name: (tmp_path / name).read_bytes() for name in names} == written


@pytest.mark.parametrize(
    ("preset", "told"), [("cpu", "in all about 64 s (64 s)"), ("smoke", "nobody has timed")]
)
def test_a_dry_run_says_how_long_it_takes(preset: str, told: str, tmp_path: Path, capsys) -> None:
    assert run("--preset", preset, "--dry-run", "--out", tmp_path / "out") == 0
    assert told in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_redrawing_what_was_never_measured_is_bad_input(tmp_path: Path, capsys) -> None:
    assert run("--redraw", "--out", tmp_path) == 2
    assert "run the experiment" in capsys.readouterr().err
