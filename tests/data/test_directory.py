"""Where data are kept: argument, environment, default."""

from __future__ import annotations

from pathlib import Path

import pytest

from symadj.data.directory import data_dir
from symadj.errors import InputError


def test_an_argument_wins_over_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "environment"))
    assert data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert data_dir(str(tmp_path / "argument")) == tmp_path / "argument"


@pytest.mark.parametrize("override", [None, ""])
def test_the_environment_wins_over_the_default(override, tmp_path, monkeypatch):
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path / "environment"))
    assert data_dir(override) == tmp_path / "environment"


@pytest.mark.parametrize("variable", [None, ""])
def test_the_default_is_in_the_home_directory(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("SYMADJ_DATA", raising=False)
    if variable is not None:
        monkeypatch.setenv("SYMADJ_DATA", variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_dir() == tmp_path / ".cache" / "symadj"


def test_a_relative_path_is_made_absolute_and_a_tilde_expanded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_dir("here") == Path.cwd() / "here"
    assert data_dir("~/there") == tmp_path / "there"


def test_nothing_is_created(tmp_path):
    assert not data_dir(tmp_path / "new").exists()


def test_a_file_is_refused_with_the_setting_that_named_it(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InputError, match=r"data_dir=.*file: is a file"):
        data_dir(file)
    monkeypatch.setenv("SYMADJ_DATA", str(file))
    with pytest.raises(InputError, match=r"SYMADJ_DATA=.*file: is a file"):
        data_dir()
