from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

import symadj
from symadj.records.environment import commit, environment


def test_a_record_says_what_the_run_ran_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/some/place/bin/symadj-train", "data.path=my file.csv"])
    found = environment(torch.device("cpu"))
    assert found["symadj"] == symadj.__version__
    assert found["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert found["device_name"] == found["cpu"] != ""
    assert found["command"] == "symadj-train 'data.path=my file.csv'"


def test_the_commit_is_that_of_the_checkout_that_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "checkout"
    (root / "symadj").mkdir(parents=True)
    monkeypatch.setattr(symadj, "__file__", str(root / "symadj/__init__.py"))
    assert commit() is None
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    (root / "symadj/__init__.py").touch()
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "x"], check=True)
    clean = commit()
    assert clean is not None
    assert len(clean) == 12
    (root / "symadj/__init__.py").write_text("changed")
    assert commit() == f"{clean}-dirty"


def test_a_wheel_inside_another_project_does_not_report_that_project_s_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "project/.venv/lib/site-packages/symadj"
    site.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "project")], check=True)
    monkeypatch.setattr(symadj, "__file__", str(site / "__init__.py"))
    assert commit() is None
