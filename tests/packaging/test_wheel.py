"""The wheel by itself, away from the checkout, composes its own configurations."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("symadj", "configs", "pyproject.toml", "README.md", "LICENSE")

PROBE = """
import symadj
from symadj.cli.train import main
from symadj.config.compose import compose
from symadj.config.groups import config_dir
print(config_dir())
print(compose("train")["solver"]["method"])
raise SystemExit(main(["experiment=quick", "train.steps=2", "out=runs", "name=r", "threads=1"]))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy, so that nothing is left in the checkout.
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, source / name)
    out = tmp_path_factory.mktemp("wheel")
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out), str(source))
    [built] = out.glob("symadj-*.whl")
    return built


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_wheel_holds_every_config_and_no_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "configs").rglob("*.yaml"):
        assert f"symadj/configs/{path.relative_to(ROOT / 'configs')}" in names
    assert not [name for name in names if name.startswith(("tests/", "configs/"))]


def test_the_wheel_runs_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    _pip("install", "--no-deps", "--target", str(site), str(wheel))
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, method, *_ = done.stdout.splitlines()
    assert Path(found) == (site / "symadj/configs").resolve()
    assert method == "dopri5"
    # Nothing but the run directory is left behind: none of Hydra's own outputs.
    assert [path.name for path in elsewhere.iterdir()] == ["runs"]
    assert (elsewhere / "runs/r/record.json").is_file()
