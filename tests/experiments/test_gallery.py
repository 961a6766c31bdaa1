"""The gallery: every figure is in it, and it says of which commits the records are."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

import gallery
from gallery import DIRTY, ELSEWHERE, OLDER, SEVERAL

RESULTS = gallery.ROOT / "results"


def has_history() -> bool:
    """Whether git knows all commits of this checkout."""
    try:
        return gallery.git("rev-parse", "--is-shallow-repository").strip() == "false"
    except (OSError, subprocess.CalledProcessError):
        return False


def test_all_results_are_known_and_all_figures_say_what_they_show() -> None:
    assert set(gallery.folders(RESULTS)) <= set(gallery.MEASURES)
    for name in gallery.folders(RESULTS):
        assert all(gallery.figures(RESULTS, name).values()), name


@pytest.mark.skipif(not has_history(), reason="no git, or not its whole history")
def test_the_page_says_of_which_commits_the_records_are_and_what_has_changed_since() -> None:
    assert gallery.unsaid(RESULTS) == [], "python experiments/gallery.py writes the page anew"


def test_a_captions_sentence_is_taken_before_the_list(tmp_path: Path) -> None:
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / "steps.png").touch()
    assert gallery.figures(tmp_path, "steps") == {"steps": gallery.SHOWS["steps/steps"]}
    text = "![steps](steps.png)\n\n**steps**: Memory over N.\n\nData.\n"
    (folder / "figures.md").write_text(text)
    assert gallery.figures(tmp_path, "steps") == {"steps": "Memory over N."}


class Repository:
    """A checkout with one result."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "-q")

    @property
    def results(self) -> Path:
        return self.path / "results"

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
        command = ["git", *identity, *words]
        done = subprocess.run(command, cwd=self.path, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, name: str) -> str:
        """Changes a file; the commit, as records name it."""
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(file.read_text() + "more" if file.exists() else "")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", name)
        return self.git("rev-parse", "--short=12", "HEAD")

    def measured_at(self, *commits: str | None) -> dict[str, str]:
        """What speaks against records of these commits."""
        folder = self.results / "steps"
        folder.mkdir(parents=True, exist_ok=True)
        head = {"written": "2026-01-02T03:04:05+00:00", "cells": []}
        around = [{"commit": commit} for commit in commits]
        (folder / "records.json").write_text(json.dumps({**head, "environments": around}))
        return gallery.faults("steps", gallery.measured(folder))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    made = Repository(tmp_path / "checkout")
    monkeypatch.setattr(gallery, "ROOT", made.path)
    return made


def test_records_are_old_when_the_code_that_they_measure_has_changed(
    repository: Repository,
) -> None:
    first = repository.commit("experiments/steps.py")
    assert repository.measured_at(first) == {}
    repository.commit("docs/page.md")
    repository.commit("symadj/report/bars.py")
    repository.commit("symadj/bench/peers/jax_solve.py")
    assert repository.measured_at(first) == {}
    repository.commit("symadj/ode/engine.py")
    repository.commit("experiments/steps.py")
    told = f"{OLDER}: 2 commits later touch experiments/steps.py, symadj/ode"
    assert repository.measured_at(first) == {OLDER: told}


def test_a_commit_that_changes_no_figure_makes_no_record_old(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.commit("symadj/ode/engine.py")
    repository.commit("symadj/ode/watch.py")
    why = {repository.git("rev-parse", "HEAD"): "a bound"}
    monkeypatch.setattr(gallery, "SAME_FIGURES", why)
    assert repository.measured_at(first) == {}
    repository.commit("symadj/grad/base.py")
    told = f"{OLDER}: 1 commit touches symadj/grad"
    assert repository.measured_at(first) == {OLDER: told}
    assert "a bound" in gallery.readme(repository.results)


def test_records_are_of_one_clean_commit_of_this_history(repository: Repository) -> None:
    first = repository.commit("a")
    second = repository.commit("b")
    assert set(repository.measured_at(first, second)) == {SEVERAL}
    assert set(repository.measured_at(f"{first}-dirty")) == {DIRTY}
    assert set(repository.measured_at("0123456789ab")) == {ELSEWHERE}
    assert set(repository.measured_at(None)) == {ELSEWHERE}


def test_a_page_that_does_not_say_so_is_found_out(repository: Repository) -> None:
    first = repository.commit("symadj/ode/engine.py")
    repository.measured_at(first)
    (repository.results / "steps" / "steps.png").touch()
    page = gallery.readme(repository.results)
    (repository.results / "README.md").write_text(page)
    assert f"commit {first}, 2026-01-02: current." in page
    assert "](steps/steps.png)" in page
    assert gallery.unsaid(repository.results) == []
    second = repository.commit("symadj/ode/engine.py")
    assert gallery.unsaid(repository.results) == [f"steps: {OLDER}"]
    repository.measured_at(second)
    assert gallery.unsaid(repository.results) == [f"steps: {second}"]
    (repository.results / "README.md").write_text(gallery.readme(repository.results))
    assert gallery.unsaid(repository.results) == []
