"""The make targets: what they would do, without doing it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def make(checkout: Path, *arguments: str) -> str:
    # As a user's own call, even where these tests are run by make.
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    done = subprocess.run(
        ["make", *arguments],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name not in outer},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    for stamp in (".installed", ".installed-dev"):
        (checkout / ".venv" / stamp).touch()


def test_help_lists_every_target(checkout: Path) -> None:
    listed = make(checkout, "help")
    for target in ("train", "test", "test-heavy", "test-faults", "lint", "help"):
        assert f"\n  {target} " in listed
    assert make(checkout) == listed


def test_the_first_call_installs_and_the_second_does_not(checkout: Path) -> None:
    first = make(checkout, "-n", "train")
    assert "-m venv .venv" in first
    assert "PIP_CONSTRAINT=constraints.txt" in first
    assert first.rstrip().endswith("symadj-train solver=dopri5 grad=symplectic")
    installed(checkout)
    second = make(checkout, "-n", "train")
    assert "venv .venv" not in second
    assert "pip" not in second
    assert "symadj-train" in second


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_changed_requirement_installs_again(checkout: Path, changed: str) -> None:
    installed(checkout)
    stamp = (checkout / ".venv/.installed").stat().st_mtime
    os.utime(checkout / changed, (stamp + 10, stamp + 10))
    assert "pip install" in make(checkout, "-n", "train")


def test_test_checks_style_and_types_and_runs_pytest(checkout: Path) -> None:
    installed(checkout)
    plan = make(checkout, "-n", "test")
    for part in ("ruff check", "ruff format --check", "basedpyright", "-m pytest"):
        assert part in plan


def test_test_faults_runs_the_whole_suite_of_faults(checkout: Path) -> None:
    installed(checkout)
    assert 'pytest tests/faults -m ""' in make(checkout, "-n", "test-faults")
    assert "pytest -m heavy" in make(checkout, "-n", "test-heavy")


def test_ci_runs_make_test() -> None:
    script = (ROOT / ".ci/run").read_text()
    assert "set -euo pipefail" in script
    assert script.rstrip().endswith("make test test-heavy")
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_the_constraints_pin_everything_that_is_installed_here() -> None:
    """Every requirement of symadj has one exact version for the Python in use."""
    from packaging.requirements import Requirement

    pinned: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                [specifier] = requirement.specifier
                assert specifier.operator == "=="
                assert requirement.name.lower() not in pinned
                pinned[requirement.name.lower()] = specifier.version
    assert pinned["torch"] == "2.13.0"
    if sys.version_info >= (3, 11):
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        extras = project["optional-dependencies"]
        needed = project["dependencies"] + extras["dev"]
        for requirement in map(Requirement, needed):
            for extra in requirement.extras if requirement.name == "symadj" else ():
                needed += extras[extra]
        for requirement in map(Requirement, needed):
            relevant = requirement.marker is None or requirement.marker.evaluate()
            if relevant and requirement.name != "symadj":
                assert pinned[requirement.name.lower()] in requirement.specifier
