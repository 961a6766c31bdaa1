from __future__ import annotations

from pathlib import Path

import pytest

import symadj.memory
from symadj.errors import InputError
from symadj.memory import available_memory, require_memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB left, whose control groups are files below the path."""
    (tmp_path / "meminfo").write_text("MemTotal: 9437184 kB\nMemAvailable:    8388608 kB\n")
    (tmp_path / "own").write_text("4:memory:/a/b\n1:cpu:/\n0::/c\n")
    monkeypatch.setattr(symadj.memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(symadj.memory, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(symadj.memory, "_GROUPS", tmp_path / "groups")
    return tmp_path


def limit(folder: Path, names: tuple[str, str], values: tuple[object, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names, values, strict=True):
        (folder / name).write_text(f"{value}\n")


def test_the_kernel_says_what_is_left(machine: Path) -> None:
    assert available_memory() == 8 * GIB


@pytest.mark.parametrize("place", ["c", ""])
def test_a_control_group_s_limit_counts(machine: Path, place: str) -> None:
    limit(machine / "groups" / place, ("memory.max", "memory.current"), (3 * GIB, GIB))
    assert available_memory() == 2 * GIB


def test_so_does_one_of_the_first_version_and_no_limit_is_none(machine: Path) -> None:
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    limit(machine / "groups/memory/a/b", names, (5 * GIB, GIB))
    limit(machine / "groups/c", ("memory.max", "memory.current"), ("max", GIB))
    assert available_memory() == 4 * GIB


def test_where_the_system_does_not_say_nothing_is_refused(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symadj.memory, "_MEMINFO", machine / "none")
    assert available_memory() is None
    require_memory(1e30, "it", "stop")


def test_what_needs_more_is_refused_with_both_figures(machine: Path) -> None:
    require_memory(7.9 * GIB, "it", "stop")
    message = "data.size=9: it needs 9 GiB of memory or more, and 8 GiB can be had; take less."
    with pytest.raises(InputError) as raised:
        require_memory(9 * GIB, "data.size=9: it", "take less")
    assert str(raised.value) == message
