from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest

from symadj.config.compose import compose
from symadj.config.schema import Config
from symadj.config.trust import check_trusted
from symadj.errors import InputError

RUN = Path("run")


def config(key: str, value: object) -> Config:
    made = node = copy.deepcopy(dict(compose("train", ["data=toy2d"])))
    *sections, name = key.split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[name] = value
    return made


@pytest.mark.parametrize("overrides", [[], ["data=kdv"], ["grad=symplectic_stages", "solver=rk4"]])
def test_what_symadj_composes_is_trusted(overrides: list[str]) -> None:
    check_trusted(compose("train", overrides), RUN)


@pytest.mark.parametrize(
    ("key", "target"),
    [
        ("solver", "subprocess.getoutput"),
        ("model", "antigravity.x"),
        ("model", "symadj.packages.need"),
        ("model", "symadj.run.process._serve"),
        ("solver", "symadj.data.table.Table"),  # of another group
        ("data.inner", "os.system"),
        ("whatever.is.this", "os.system"),
    ],
)
def test_other_code_is_refused_with_what_would_be_imported(key: str, target: str) -> None:
    changed = config(f"{key}._target_", target)
    with pytest.raises(InputError, match=f"nothing of it was imported: {key}._target_={target}"):
        check_trusted(changed, RUN)
    assert "antigravity" not in sys.modules


def test_trust_is_for_a_module_and_what_is_in_it() -> None:
    foreign = config("model._target_", "mine.nets.Net")
    check_trusted(foreign, RUN, trusted=["mine"])
    check_trusted(foreign, RUN, trusted=["mine.nets"])
    check_trusted(foreign, RUN, named=["model"])  # the user has said it on the command line
    for other in ("min", "mine.net", "mine.nets.Ne"):
        with pytest.raises(InputError, match=r"If you trust it: --trust mine\.nets"):
            check_trusted(foreign, RUN, trusted=[other])


def test_what_is_symadjs_but_no_part_of_a_run_is_never_trusted() -> None:
    with pytest.raises(InputError, match="do not trust this one"):
        check_trusted(
            config("model._target_", "symadj.run.process._serve"), RUN, trusted=["symadj"]
        )


def test_the_users_own_groups_are_trusted(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/mine.yaml").write_text("# mine\n_target_: mine.Net\nwidth: 3\n")
    check_trusted(config("model._target_", "mine.Net"), RUN, extra=tmp_path)
    with pytest.raises(InputError, match="mine"):
        check_trusted(config("solver._target_", "mine.Net"), RUN, extra=tmp_path)


@pytest.mark.parametrize("key", ["data.data_dir", "grad.offload_dir"])
def test_where_files_are_written_must_be_said_on_the_command_line(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    changed = config(key, str(tmp_path))
    with pytest.raises(InputError, match=f"{key}={tmp_path}, where files would be written"):
        check_trusted(changed, RUN)
    check_trusted(changed, RUN, named=[key])
    monkeypatch.setenv("SYMADJ_DATA", str(tmp_path))
    if key == "data.data_dir":  # where this user's data are anyway
        check_trusted(changed, RUN)
