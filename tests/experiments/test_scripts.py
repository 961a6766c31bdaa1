"""Every experiment: its presets compose, and its smallest one runs, resumes and redraws."""

from __future__ import annotations

import json
import shlex
import shutil
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import likelihood
import peers
import rounding
import steps
import table2
import table3
import table4
import times
import tolerance
from harness import Command, Preset, main
from harness.command import APPS
from harness.results import FILE, trimmed
from symadj.config.compose import to_yaml
from symadj.config.saved import saved_config
from symadj.records.record import RunRecord
from symadj.report.names import MISSING

SCRIPTS = (likelihood, table2, table3, table4, tolerance, rounding, steps, times, peers)
TWO = ("adjoint", "symplectic")


def run(script: ModuleType, *arguments: object) -> int:
    return main(script.EXPERIMENT, [str(argument) for argument in arguments])


def commands_of(script: ModuleType, preset: str) -> list[Command]:
    nothing = Namespace(miniboone=None, bsds_images=None, full=False)
    chosen = script.EXPERIMENT.presets[preset](nothing)
    return [*chosen.prepare, *chosen.commands]


@pytest.mark.parametrize("preset", ["paper", "cpu"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_a_dry_run_prints_commands_that_compose(
    script: ModuleType, preset: str, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(script, "GRADS", ("symplectic",))
    assert run(script, "--preset", preset, "--dry-run", "--out", tmp_path / "out") == 0
    lines = capsys.readouterr().out.splitlines()
    typed = [shlex.split(line) for line in lines if line.startswith("symadj-")]
    commands = commands_of(script, preset)
    assert len(typed) == len(commands)
    for (name, *overrides), command in list(zip(typed, commands, strict=True))[:: len(commands)]:
        app = APPS[command.kind]
        assert name == app.name
        config = app.configuration(overrides)
        assert config["out"] == str(tmp_path / "out" / "runs")
        assert config["name"] == command.slug
    unknown = sum(command.seconds is None for command in commands)
    assert ("nobody has timed" in lines[-1]) == (unknown > 0)
    assert ("in all about" in lines[-1]) == (unknown < len(commands))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("preset", ["paper", "cpu", "smoke"])
@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_have_names_of_their_own(script: ModuleType, preset: str) -> None:
    names = [command.slug for command in commands_of(script, preset)]
    assert len(set(names)) == len(names)


@pytest.mark.heavy
def test_a_benchmark_of_trained_weights_runs_once_and_is_redrawn(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(rounding, "GRADS", ("aca", *TWO))
    smoke = ("--preset", "smoke", "--out", tmp_path)
    assert run(rounding, *smoke) == 0
    assert (tmp_path / "rounding.png").stat().st_size > 1000
    table = (tmp_path / "rounding.md").read_text()
    kept = (tmp_path / FILE).read_text()
    directories = sorted((tmp_path / "runs").iterdir())
    capsys.readouterr()
    assert run(rounding, *smoke) == 0
    assert sorted((tmp_path / "runs").iterdir()) == directories
    assert "[1/" not in capsys.readouterr().out
    assert (tmp_path / "rounding.md").read_text() == table
    # Nothing but the records is needed to draw.
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / FILE).write_text(kept)
    assert run(rounding, "--redraw", "--out", alone) == 0
    assert (alone / "rounding.md").read_text() == table
    assert (alone / "rounding.png").read_bytes() == (tmp_path / "rounding.png").read_bytes()


def test_failures_are_cells_and_are_not_run_again(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(table2, "GRADS", ("backprop", "symplectic"))
    smoke = ("--preset", "smoke", "--out", tmp_path)
    assert run(table2, *smoke) == 0
    table = (tmp_path / "table2.md").read_text()
    assert "OOM" in table
    assert "backprop, POWER-sized, 2-d: " in table
    assert "1710.9" in table, "the paper's figure beside it"
    assert (tmp_path / "bars.png").stat().st_size > 1000
    capsys.readouterr()
    assert run(table2, *smoke, "--dry-run") == 0
    assert capsys.readouterr().out.count(": finished") == 1
    (oom, ok) = json.loads((tmp_path / FILE).read_text())["cells"]
    assert (oom["record"]["status"], ok["record"]["status"]) == ("oom", "ok")
    assert "traceback" not in oom["record"]["error"]


def test_a_dry_run_tells_what_cells_took_before(tmp_path: Path, capsys) -> None:
    smoke = ("--preset", "smoke", "--out", tmp_path)
    assert run(steps, *smoke, "--only", "N-2") == 1
    kept = json.loads((tmp_path / FILE).read_text())
    for cell in kept["cells"]:
        cell["record"]["seconds"]["total"] = 1000.0
    (tmp_path / FILE).write_text(json.dumps(kept))
    shutil.rmtree(tmp_path / "runs")
    capsys.readouterr()
    assert run(steps, *smoke, "--dry-run") == 0
    told = capsys.readouterr().out
    assert "N-2: about 1.9 h" in told, "seven rows at 1,000 seconds"
    assert "N-4: about 2 s" in told
    kept["preset"] = "paper"
    (tmp_path / FILE).write_text(json.dumps(kept))
    assert run(steps, *smoke, "--dry-run") == 0
    assert "1.9 h" not in capsys.readouterr().out


def test_commands_that_nobody_has_timed_are_counted_and_take_no_0_seconds(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    timed, *others = commands_of(steps, "smoke")
    untimed = [replace(command, seconds=None) for command in others]
    presets = {"cpu": lambda _: Preset(untimed), "paper": lambda _: Preset([timed, *untimed])}
    monkeypatch.setattr(steps, "EXPERIMENT", replace(steps.EXPERIMENT, presets=presets))
    dry = ("--out", tmp_path, "--dry-run")
    assert run(steps, *dry) == 0
    assert "# in all 3 commands that nobody has timed;" in capsys.readouterr().out
    assert run(steps, *dry, "--preset", "paper") == 0
    assert "s) for 1 command, and 3 commands that nobody has timed;" in capsys.readouterr().out


def test_a_kept_record_has_what_made_its_run() -> None:
    config = {
        "out": "results/x",
        "data": {"name": "moons", "path": "/home/me/table.csv", "data_dir": "/data"},
        "solver": {"rtol": 1e-5, "safety": 0.9, "max_factor": 5.0, "num_steps": None, "jump_t": []},
        "train": {"steps": 3, "max_seconds": 9.0, "figures": False},
    }
    assert trimmed(RunRecord("a", config=config))["config"] == {
        "data": {"name": "moons", "path": "table.csv"},
        "solver": {"rtol": 1e-5, "max_factor": 5.0},
        "train": {"steps": 3, "max_seconds": 9.0},
    }


def test_roll_outs_are_kept_with_the_records(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(table4, "GRADS", ("backprop", "symplectic"))
    out = tmp_path / "out"
    assert run(table4, "--preset", "smoke", "--out", out) == 0
    cells = json.loads((out / FILE).read_text())["cells"]
    parts = [cell["labels"]["part"] for cell in cells]
    assert (parts.count("train"), parts.count("bench")) == (8, 6)
    assert {len(cell["table"]["t"]) for cell in cells if "table" in cell} == {5}
    figures = {"kdv", "cahn_hilliard", "differences", "costs"}
    assert {f"{name}.png" for name in figures} <= {path.name for path in out.iterdir()}
    table = (out / "table4.md").read_text()
    assert table.count("nothing moves (persistence)") == table.count("| linear model") == 2
    assert "symplectic's memory is" in table
    assert MISSING not in (out / "costs.md").read_text()


def test_the_training_that_takes_hours_is_asked_for_and_shown_from_then_on(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(table4, "GRADS", ("symplectic",))
    out = tmp_path / "out"
    smoke = ("--preset", "smoke", "--out", out)
    assert run(table4, *smoke) == 0
    assert not (out / "full.md").exists()
    assert run(table4, *smoke, "--full", "--only", "full") == 0
    shown = (out / "full.md").read_text()
    assert "2 iterations" in shown
    assert "0.0233" in shown
    assert "4.89e-06" in shown, "Cahn-Hilliard too"
    assert run(table4, *smoke) == 0
    assert (out / "full.md").read_text() == shown
    assert "Unfinished" not in shown


def test_cells_that_would_end_too_late_are_left(tmp_path: Path, capsys) -> None:
    smoke = ("--preset", "smoke", "--out", tmp_path)
    assert run(steps, *smoke, "--max-minutes", "0.01") == 1
    out = capsys.readouterr().out
    assert out.count("left for another time") == 4
    assert not (tmp_path / FILE).exists()


def test_single_cells_can_be_run(tmp_path: Path, capsys) -> None:
    smoke = ("--preset", "smoke", "--out", tmp_path)
    assert run(steps, *smoke, "--dry-run", "--only", "N-4") == 0
    assert "N-2" not in capsys.readouterr().out
    assert run(steps, *smoke, "--only", "N-3") == 2
    assert "--only N-3" in capsys.readouterr().err


def test_a_setting_that_is_younger_than_a_finished_cell_has_its_default(
    tmp_path: Path, capsys
) -> None:
    one = ("--preset", "smoke", "--out", tmp_path, "--only", "N-2")
    assert run(steps, *one) == 1
    [path] = (tmp_path / "runs").glob("*/config.yaml")
    config = dict(saved_config(path.parent))
    del config["traces"]
    path.write_text(to_yaml(config))
    capsys.readouterr()
    assert run(steps, *one, "--dry-run") == 0
    assert ": finished" in capsys.readouterr().out
    path.write_text(to_yaml({**config, "repeats": 7}))
    assert run(steps, *one, "--dry-run") == 0
    assert ": finished" not in capsys.readouterr().out


def test_the_commands_of_one_kind_can_be_run(tmp_path: Path, capsys) -> None:
    commands = commands_of(tolerance, "smoke")
    for kind in ("train", "bench"):
        chosen = ("--preset", "smoke", "--out", tmp_path, "--only", kind, "--dry-run")
        assert run(tolerance, *chosen) == 0
        told = [line for line in capsys.readouterr().out.splitlines() if "symadj-" in line]
        assert len(told) == sum(command.kind == kind for command in commands) > 0
        assert all(line.startswith(f"symadj-{kind} ") for line in told)


def test_redrawing_what_was_never_run_is_bad_input(tmp_path: Path, capsys) -> None:
    assert run(steps, "--redraw", "--out", tmp_path) == 2
    assert "run the experiment" in capsys.readouterr().err


def test_experiments_take_the_launchers_of_sweeps(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    small = ["--preset", "smoke", "--out", str(tmp_path), "--only", "symplectic-atol"]
    assert main(tolerance.EXPERIMENT, [*small, "launcher=process", "launcher.workers=2"]) in (0, 1)
    assert list(tmp_path.glob("runs/.jobs/*.out"))
    assert main(tolerance.EXPERIMENT, [*small, "launcher.workers=0"]) == 2
    assert main(tolerance.EXPERIMENT, [*small, "seed=1"]) == 2
    assert "seed=1 is no setting of the launcher" in capsys.readouterr().err
