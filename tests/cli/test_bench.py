"""The command symadj-bench."""

from __future__ import annotations

from pathlib import Path

import pytest

from symadj.cli.bench import main
from tests.bench.small import SMALL


def test_it_measures_and_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, f"out={tmp_path}", "name=it"]) == 0
    assert "symplectic" in capsys.readouterr().out
    assert (tmp_path / "it" / "table.md").is_file()


def test_a_row_that_fails_by_the_users_budget_is_no_failure_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [o for o in SMALL if not o.startswith("grads")]
    overrides += ["grads=[backprop,symplectic]", "measure.memory_budget=8KiB", f"out={tmp_path}"]
    assert main(overrides) == 0
    assert "OOM" in capsys.readouterr().out


def test_nothing_measured_is_a_failure(tmp_path: Path) -> None:
    assert main([*SMALL, f"out={tmp_path}", "solver.max_steps=1"]) == 1


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("grads=[symplektic]", "'symplectic'"),
        ("peers=[diffraks]", "'diffrax'"),
        ("repeats=none", "repeats"),
        ("repeat=3", "'repeats'"),
        ("solver=dopr5", "'dopri5'"),
    ],
)
def test_a_mistake_is_named_and_exits_with_2(
    override: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([override]) == 2
    assert complaint in capsys.readouterr().err


def test_the_configuration_shows_the_nodes_behind_the_names(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["grads=[aca]", "solvers=[bosh3]", "--cfg"]) == 0
    out = capsys.readouterr().out
    assert "symadj.grad.ACA" in out
    assert "method: bosh3" in out


def test_help_names_the_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for word in ("grads=", "peers=", "experiment=gas_sized", "isolate=false"):
        assert word in out
