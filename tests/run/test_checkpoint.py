from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from symadj.errors import InputError
from symadj.run.checkpoint import load_checkpoint, save_checkpoint

KEYS = [
    "progress",
    "timings",
    "memory",
    "model",
    "average",
    "optimizer",
    "scheduler",
    "random",
    "batches",
    "best",
]
STATE = {key: {} for key in [*KEYS, "batches", "best"]}


def test_a_checkpoint_reads_back(tmp_path: Path) -> None:
    state = {**STATE, "model": {"w": torch.arange(3.0)}, "progress": {"iteration": 7}}
    save_checkpoint(tmp_path / "c.pt", state)
    loaded = load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(loaded["model"]["w"], torch.arange(3.0))
    assert loaded["progress"] == {"iteration": 7}


class Harmful:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("pwned",)


def test_nothing_in_a_checkpoint_is_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"schema": 1, "model": Harmful()}, tmp_path / "c.pt")
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        load_checkpoint(tmp_path / "c.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"torn", b"not a checkpoint", b"\x80\x02}q."])
def test_a_broken_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "c.pt").write_bytes(content)
    with pytest.raises(InputError, match=r"c\.pt"):
        load_checkpoint(tmp_path / "c.pt")


def test_half_a_checkpoint_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "c.pt", STATE)
    whole = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "c.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"c\.pt"):
        load_checkpoint(tmp_path / "c.pt")


def test_missing_parts_another_schema_and_other_things_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {**STATE, "schema": 9})
    with pytest.raises(InputError, match="schema 9"):
        load_checkpoint(path)
    save_checkpoint(path, {"model": {}})
    with pytest.raises(InputError, match="batches, best"):
        load_checkpoint(path)
    torch.save([1], path)
    with pytest.raises(InputError, match="holds a list"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(tmp_path / "none.pt")
