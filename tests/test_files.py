from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from symadj.errors import InputError, StorageError
from symadj.files import (
    open_file,
    remove_temporaries,
    subfolder,
    write_atomically,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_text(path, "old")

    def fail(file) -> None:
        file.write(b"half of the n")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "a longer text than the next")
    write_text(path, "schön")
    assert path.read_text(encoding="utf-8") == "schön"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["r", "w", "a", "rb"])
def test_links_pipes_and_folders_are_not_opened(tmp_path: Path, mode: str) -> None:
    (tmp_path / "target").write_text("mine")
    os.symlink(tmp_path / "target", tmp_path / "link")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("link", "pipe", "folder"):
        with pytest.raises(InputError, match=f"{name} is no regular file"):
            open_file(tmp_path / name, mode)
    assert (tmp_path / "target").read_text() == "mine"


def test_writing_replaces_a_link_and_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    os.symlink(tmp_path / "target", tmp_path / "link")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "mine"
    assert not (tmp_path / "link").is_symlink()


def test_a_folder_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "plots")
    with pytest.raises(InputError, match="plots is no folder"):
        subfolder(tmp_path, "plots")
    assert subfolder(tmp_path, "eval").is_dir()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "the disk is full.*Make room"),
        (errno.EDQUOT, "the disk is full.*Make room"),
        (errno.EROFS, "Read-only file system.*give another place"),
    ],
)
def test_a_failed_write_names_the_file_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StorageError, match=rf"a\.txt cannot be written: {said}"):
        write_text(tmp_path / "a.txt", "x")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_under_torch_save_is_told_as_such(tmp_path: Path) -> None:
    class Full:
        def __init__(self, file) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self) -> None:
            pass

    with pytest.raises(StorageError, match="the disk is full"):
        write_atomically(tmp_path / "c.pt", lambda file: torch.save({"a": 1}, Full(file)))  # pyright: ignore[reportArgumentType]


def test_what_killed_processes_have_left_is_removed(tmp_path: Path) -> None:
    dead, mine = tmp_path / ".a.pt.4194305.tmp", tmp_path / f".a.pt.{os.getpid()}.tmp"
    for path in (dead, mine, tmp_path / ".other.tmp", tmp_path / "a.1.tmp"):
        path.write_text("")
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, ".other.tmp", "a.1.tmp"}
