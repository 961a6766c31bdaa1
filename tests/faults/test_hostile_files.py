"""A directory of a run made by somebody else: reading it runs nothing and writes nowhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.faults.forked import Ended
from tests.faults.runs import FLOW, MORE, command, digest, looks, resume
from tests.faults.watched import Watch
from tests.standins import CONFIGS

SECRET = "a-secret-of-the-environment"
MiB = 2**20


@dataclass(frozen=True)
class Place:
    """Where a case happens: the hostile run among others, and what it must not reach.

    Attributes:
        run: the hostile run's directory; `run.parent` holds runs.
        desk: where commands are told to write.
        outside: everybody else's files.
    """

    run: Path
    desk: Path
    outside: Path


@pytest.fixture
def place(tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Place]:
    """Makes a fresh place with a cut-off run in it at every call."""
    monkeypatch.setenv("SYMADJ_TEST_SECRET", SECRET)
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "planted.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w')\nModel = dict\n"
    )
    monkeypatch.syspath_prepend(str(modules))
    number = iter(range(10**6))

    def make() -> Place:
        root = tmp_path / str(next(number))
        made = Place(root / "runs" / "run", root / "desk", root / "outside")
        shutil.copytree(finished, made.run)
        edit_record(made.run, status="interrupted", finished=None)
        made.desk.mkdir()
        made.outside.mkdir()
        (made.outside / "diary.txt").write_text("dear diary\n")
        return made

    return make


def edit_record(run: Path, **values: Any) -> None:
    path = run / "record.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def edit_config(run: Path, **values: Any) -> None:
    path = run / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values))


def readers(place: Place) -> dict[str, list[str]]:
    """Every command that reads a directory of a run."""
    sweep = ["train", "-m", *FLOW, f"out={place.run.parent}", "seed=0"]
    return {
        **looks(place.run),
        "guide": ["guide", str(place.run), "goal=target"],
        "resume": resume(place.run, f"train.steps={MORE}", "train.figures=true"),
        "sweep": sweep,
    }


def problems(place: Place, reader: str) -> tuple[Ended, list[str]]:
    """Reads the hostile run; what happened that must not."""
    before = digest(place.outside)
    watch = Watch([place.run.parent, place.desk], ("planted", "this", "antigravity"), 700 * MiB)
    done = command(
        readers(place)[reader],
        before=watch.install,
        tell=lambda: watch.deeds,
        seconds=10,
        cwd=place.desk,
    )
    found = list(done.left or [])
    if done.signal:
        found.append(done.signal)
    if "Traceback" in done.text:
        found.append("traceback: " + done.err.strip().splitlines()[-1])
    if done.code not in (None, 0, 1, 2):
        found.append(f"exit {done.code}")
    if digest(place.outside) != before:
        found.append("changed outside")
    if (place.outside.parents[1] / "imported").exists():
        found.append("imported")
    if SECRET in done.text or any(SECRET in text for text in texts(place.run.parents[1])):
        found.append("secret told")
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.text):
        found.append("control characters printed")
    return done, found


def nothing(found: dict[Any, list[str]]) -> None:
    """Fails with a line for each case in which something happened that must not."""
    assert not "\n".join(f"{case}: {bad}" for case, bad in found.items() if bad)


def texts(directory: Path) -> Iterator[str]:
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size < MiB:
            yield path.read_text(errors="replace")


def refuses(done: Ended, *words: str) -> list[str]:
    """Exit 2 and one message that has these words."""
    if done.code is None:
        return []
    missing = [word for word in words if word not in done.err]
    return [f"exit {done.code}, not refused"] if done.code != 2 else [f"no {w}" for w in missing]


SHARES = [pytest.param(1, marks=pytest.mark.faults, id="all"), pytest.param(11, id="some")]


def each(cases: dict[str, Any], names: list[str], share: int) -> Iterator[tuple[str, Any, str]]:
    """Every case with every reader, or each `share`-th of these pairs."""
    pairs = [
        (case, value, name)
        for case, value in cases.items()
        for name in names
        # Figures are drawn from the tables beside the records; all else is the report's.
        if name != "figures" or case in ("history.csv", "rollout.csv")
    ]
    yield from pairs[share // 2 :: share]


# Configurations. Each names something to make, or is no configuration at all.

READ_CONFIG = ["eval", "sample", "guide", "resume"]
TARGETS: dict[str, dict[str, Any]] = {
    "a function of Python": {"solver": {"_target_": "subprocess.getoutput", "cmd": "touch PWNED"}},
    "a module with effects": {"model": {"_target_": "this.x"}},
    "a module of somebody": {"data": {"_target_": "planted.Model"}},
    "symadj's import": {"task": {"_target_": "symadj.packages.need", "module": "planted"}},
    "symadj's jobs": {"optim": {"_target_": "symadj.run.process._serve", "folder": "."}},
    "symadj's commands": {"grad": {"_target_": "symadj.cli.train.main", "argv": ["out=PWNED"]}},
    "symadj's writing": {
        "solver": {"_target_": "symadj.files.write_text", "path": "PWNED", "text": "x"}
    },
    "what a module of symadj imports": {"solver": {"_target_": "symadj.run.process.run_isolated"}},
    "nested": {
        "model": {
            "_target_": "symadj.models.cnf.CNF",
            "activation": {"_target_": "subprocess.getoutput", "cmd": "touch PWNED"},
        }
    },
}


@pytest.mark.parametrize("share", SHARES)
def test_what_a_run_names_as_its_parts_is_no_way_to_run_code(
    place: Callable[[], Place], share: int
) -> None:
    found = {}
    for case, values, reader in each(TARGETS, [*READ_CONFIG, "sweep"], share):
        here = place()
        edit_config(here.run, **values)
        done, bad = problems(here, reader)
        if reader in READ_CONFIG:
            [part] = values.values()
            named = [] if case == "nested" else [part["_target_"]]
            bad += refuses(done, *named)
        found[case, reader] = bad
    nothing(found)


def bomb(depth: int) -> str:
    """2^depth copies of a word by 2 depth words of YAML."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, depth)]
    return "\n".join(lines)


CONFIGS_THAT_ARE_NONE: dict[str, str | bytes] = {
    "aliases": bomb(40),
    "an alias of itself": "a: &a [*a]",
    "depth": "a: " + "[" * 100_000,
    "depth that ends": "a: " + "[" * 5_000 + "]" * 5_000,
    "a tag of Python": "!!python/object/apply:os.system ['touch PWNED']",
    "bytes": bytes(range(256)),
    "a list": "[1, 2]",
    "a number": "3",
    "nothing": "",
    "no UTF-8": b"seed: \xff\xfe",
}


@pytest.mark.parametrize("share", SHARES)
def test_a_configuration_that_is_none_is_refused_at_once(
    place: Callable[[], Place], share: int
) -> None:
    found = {}
    for case, text, reader in each(CONFIGS_THAT_ARE_NONE, READ_CONFIG, share):
        here = place()
        (here.run / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
        done, bad = problems(here, reader)
        found[case, reader] = bad + refuses(done, "config.yaml")
    nothing(found)


ENVIRONMENT: dict[str, dict[str, Any]] = {
    "name": {"name": "${oc.env:SYMADJ_TEST_SECRET}"},
    "a path": {"out": "/tmp/${oc.env:SYMADJ_TEST_SECRET}"},
    "a default": {"name": "${oc.env:NOWHERE,${oc.env:SYMADJ_TEST_SECRET}}"},
    "decoded": {"name": "${oc.decode:${oc.env:SYMADJ_TEST_SECRET}}"},
    "inside": {"train": {"steps": 6, "device": "${oc.env:SYMADJ_TEST_SECRET}"}},
}


@pytest.mark.parametrize("share", SHARES)
def test_a_configuration_does_not_reach_the_environment(
    place: Callable[[], Place], share: int
) -> None:
    found = {}
    for case, values, reader in each(ENVIRONMENT, READ_CONFIG, share):
        here = place()
        edit_config(here.run, **values)
        done, bad = problems(here, reader)
        found[case, reader] = bad + refuses(done, "config.yaml")
    nothing(found)


def elsewhere(place: Place) -> dict[str, dict[str, Any]]:
    """Configurations that name a folder outside the run for something to be written to."""
    outside = str(place.outside)
    kdv = {"_target_": "symadj.data.physics.kdv.KdV", "trajectories": 4, "steps": 3}
    symplectic = {"_target_": "symadj.grad.Symplectic", "offload": "disk"}
    return {
        "data": {"data": {**kdv, "data_dir": outside}},
        "kept states": {"grad": {**symplectic, "offload_dir": outside}},
        "runs": {"out": outside},
        "a name": {"name": "../../outside/run"},
    }


@pytest.mark.parametrize(
    "case",
    [
        *("data", "kept states"),
        *(pytest.param(case, marks=pytest.mark.faults) for case in ("runs", "a name")),
    ],
)
def test_a_configuration_names_no_folder_to_write_to(place: Callable[[], Place], case: str) -> None:
    for reader in READ_CONFIG:
        here = place()
        edit_config(here.run, **elsewhere(here)[case])
        assert problems(here, reader)[1] == [], reader


# Files that are no regular files.

FILES = [
    *("record.json", "config.yaml", "checkpoint.pt", "best.pt", "history.csv", "log.txt"),
    *(".lock", "rollout.csv", "plots", "eval", "samples"),
]
NEEDED = {
    "eval": {"config.yaml", "eval"},
    "sample": {"config.yaml", "samples"},
    "resume": {"record.json", "config.yaml", "checkpoint.pt", "history.csv", "log.txt", ".lock"},
}
"""The files that a reader uses in every case, so that it must refuse what takes their place."""


def linked(path: Path, outside: Path) -> None:
    """A link to a good file, or directory, of that kind elsewhere."""
    target = outside / path.name.lstrip(".")
    if path.exists():
        shutil.move(path, target)
    elif path.suffix:
        target.write_text("t,state_mse\n0,1\n")
    else:
        target.mkdir()
    path.symlink_to(target)


def dangling(path: Path, outside: Path) -> None:
    """A link to a file that is not there yet."""
    path.unlink(missing_ok=True)
    path.symlink_to(outside / "new")


def pipe(path: Path, outside: Path) -> None:
    """A named pipe that nobody writes to."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def other(path: Path, outside: Path) -> None:
    """A directory for a file, a file for a directory."""
    path.unlink(missing_ok=True)
    if path.suffix or path.name == ".lock":
        path.mkdir()
    else:
        path.write_text("")


@pytest.mark.parametrize("share", [SHARES[0], pytest.param(29, id="some")])
@pytest.mark.parametrize("take_the_place", [linked, dangling, pipe, other])
def test_only_regular_files_are_opened(
    place: Callable[[], Place], take_the_place: Callable[[Path, Path], None], share: int
) -> None:
    found = {}
    for name, _, reader in each(dict.fromkeys(FILES), list(readers(place())), share):
        here = place()
        take_the_place(here.run / name, here.outside)
        done, bad = problems(here, reader)
        if name in NEEDED.get(reader, ()):
            bad += refuses(done, name)
        found[name, reader] = bad
    nothing(found)


def test_a_run_below_a_linked_directory_is_the_users_own_choice(
    place: Callable[[], Place],
) -> None:
    here = place()
    (here.desk / "link").symlink_to(here.run.parent)
    assert command(["eval", here.desk / "link" / "run"]).code == 0


# Files too large to be what they are called, and contents that no run writes.

LARGE = ["record.json", "config.yaml", "checkpoint.pt", "best.pt", "history.csv", "rollout.csv"]


@pytest.mark.parametrize("share", [SHARES[0], pytest.param(17, id="some")])
def test_a_file_too_large_to_be_one_of_a_run_takes_no_memory(
    place: Callable[[], Place], share: int
) -> None:
    found = {}
    for name, _, reader in each(dict.fromkeys(LARGE), list(readers(place())), share):
        here = place()
        with open(here.run / name, "wb") as file:
            file.truncate(4096 * MiB)
        done, bad = problems(here, reader)
        # A history without rows is one that lacks them all, which is said aloud.
        if name in NEEDED.get(reader, ()) and name != "history.csv":
            bad += refuses(done, name)
        found[name, reader] = bad
    nothing(found)


HUGE = 10**400
RECORDS: dict[str, dict[str, Any]] = {
    "a title of the terminal": {"grad": "\x1b]0;owned\x07", "name": "\x1b[31mred\x9b2J"},
    "an escape in an error": {"status": "error", "error": {"type": "E", "message": "\x1b[2J\r"}},
    "a lone surrogate": {"name": "\ud800", "grad": "\udfff"},
    "a formula": {"grad": "=cmd|' /C calc'!A0", "solver": "@SUM(1)"},
    "another formula": {"grad": "+1+cmd|x", "solver": "-2+3+cmd|x"},
    "huge metrics": {"metrics": {"test/nll": HUGE}},
    "huge counts": {"iterations": HUGE, "seed": HUGE, "evaluations": {"forward": HUGE}},
    "depth": {"config": {"a": json.loads("[" * 500 + "]" * 500)}},
    "numbers as texts": {"seconds": {"iteration": {"median": "x"}}, "memory": {"peak_bytes": []}},
    "names as lists": {"data": {"name": ["x"]}, "config": {"data": 3}},
}


@pytest.mark.parametrize("share", SHARES)
def test_a_record_that_no_run_wrote_stops_no_reader(place: Callable[[], Place], share: int) -> None:
    found = {}
    for case, values, reader in each(RECORDS, ["report", "resume", "sweep"], share):
        here = place()
        shutil.copytree(here.run, here.run.with_name("good"))
        edit_record(here.run, **values)
        _, bad = problems(here, reader)
        if reader == "report":
            bad += table_problems(here.desk / "tables" / "table.csv")
        found[case, reader] = bad
    nothing(found)


def table_problems(path: Path) -> list[str]:
    """A table has the good run, and no cell that a spreadsheet would compute."""
    if not path.exists():
        return ["no table"]
    cells = pd.read_csv(path, dtype=str, keep_default_na=False).to_numpy().ravel().tolist()
    formulas = [c for c in cells if re.match(r"[=+@\t\r]|-(?![\d.])|-.*[^\d.e-]", c)]
    return formulas + ([] if "symplectic" in cells else ["the good run is not there"])


# A user's own model.


def test_a_module_of_the_users_own_is_trusted_by_name_and_written_down(tmp_path: Path) -> None:
    own = ["--config-dir", str(CONFIGS), "experiment=standin", f"out={tmp_path}", "name=run"]
    assert command(["train", *own]).code == 0
    run, trust = tmp_path / "run", ["--trust", "tests.standins"]
    for words in (["eval", run], resume(run, "train.steps=8")):
        before = digest(run)
        for more in ([], ["--trust", "tests.fields"], ["--trust", "tests.standin"]):
            done = command([*words, *more])
            assert refuses(done, "tests.standins", "--trust") == [], done.text
            assert digest(run) == before
        done = command([*words, *trust])
        assert done.code == 0, done.text
    told = [run / "record.json", *(run / "eval").glob("*.json")]
    assert [re.search(r'"trust\w*": \[?\s*"tests\.standins"', p.read_text()) for p in told].count(
        None
    ) == 0
    assert len(told) == 2
