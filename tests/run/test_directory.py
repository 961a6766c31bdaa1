from __future__ import annotations

import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from symadj.errors import InputError
from symadj.run.directory import check_name, in_use, make_run_directory, run_name, sole_user

NOON = datetime(2026, 1, 2, 12, 0, 0)


def test_runs_that_start_at_once_never_share_a_directory(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make_run_directory(tmp_path, "run"), range(32)))
    assert len(set(made)) == 32
    assert all(path.is_dir() for path in made)
    assert {path.name for path in made} == {"run", *(f"run-{i}" for i in range(2, 33))}


@given(st.lists(st.text(max_size=60), max_size=5), st.integers(0, 2**63 - 1))
def test_a_name_needs_no_quotes_anywhere(overrides: list[str], seed: int) -> None:
    name = run_name(NOON, overrides, seed)
    assert check_name(name) == name
    assert shlex.quote(name) == name
    assert len(name) <= 96
    [parsed] = OverridesParser.create().parse_overrides([f"resume=results/runs/{name}"])
    assert parsed.value() == f"results/runs/{name}"


def test_the_name_tells_time_overrides_and_seed() -> None:
    name = run_name(NOON, ["grad=aca", "data.path=/a/b/my table.csv", "seed=7", "fresh=true"], 7)
    assert name == "20260102-120000_grad-aca_data.path-my-table.csv_seed-7"


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a b", "-rf", ".hidden", "x" * 200, "ä"])
def test_a_name_that_a_shell_stumbles_over_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="letters, digits"):
        check_name(name)


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_an_output_directory_that_cannot_be_made_is_an_input_error(
    tmp_path: Path, below: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"out=.*file.*out=DIR"):
        make_run_directory(tmp_path / "file" / below, "run")


def test_a_directory_is_held_by_one_process_until_it_ends(tmp_path: Path) -> None:
    assert not in_use(tmp_path)
    with sole_user(tmp_path):
        assert in_use(tmp_path)
        probe = "import sys; from pathlib import Path; from symadj.run.directory import in_use;"
        probe += "sys.exit(in_use(Path(sys.argv[1])))"
        done = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], check=False)
        assert done.returncode == 1
        with pytest.raises(InputError, match=re.escape("in use")), sole_user(tmp_path):
            pass
    assert not in_use(tmp_path)
