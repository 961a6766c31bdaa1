from __future__ import annotations

from pathlib import Path

import pytest

from symadj.run.files import write_atomically, write_text


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
