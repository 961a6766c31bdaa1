"""scripts/reproduce.sh, over stand-ins for the experiments."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.scripts.stand_in import Checkout

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

EXPERIMENT = """
if "--dry-run" in sys.argv:
    print("# {told}; results in x")
    sys.exit()
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
(out / "table.md").write_text("new")
(out / "records.json").write_text('{{"missing": {missing},\\n"cells": []}}')
"""
BENCH = """
(folder / "row").mkdir(parents=True)
(folder / "row" / "record.json").write_text('{"seconds": {"total": 1}}')
(folder / "table.md").write_text("new")
"""
TRAIN = """
folder = folder or pathlib.Path(named["resume"])
(folder / "plots").mkdir(parents=True, exist_ok=True)
(folder / "plots" / "samples.png").write_text("new")
(folder / "history.csv").write_text("new")
done = "resume" in named or not pathlib.Path("cut").exists()
(folder / "checkpoint.pt").write_text("")
(folder / "record.json").write_text('{"status": "%s"}' % ("ok" if done else "interrupted"))
sys.exit(0 if done else 130)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "checkout")
    told = {
        "steps": "in all about 6 min (360 s)",
        "rounding": "in all about 2 min (100 s) for 3 commands, and 2 commands that nobody has "
        "timed",
        "peers": "in all 4 commands that nobody has timed",
    }
    for name, line in told.items():
        made.command(f"experiments/{name}.py", EXPERIMENT.format(told=line, missing=0))
    made.command("symadj/cli/bench.py", BENCH)
    made.command("symadj/cli/train.py", TRAIN)
    made.write("results/digits/samples.png", "old")
    record = {
        "kind": "train",
        "iterations": 10,
        "config": {"train": {"steps": 40}},
        "seconds": {"total": 60.0},
    }
    made.write("results/digits/record.json", json.dumps(record))
    made.commit()
    return made


def test_times_are_added_and_what_nobody_has_timed_is_counted(checkout: Checkout) -> None:
    names = "steps,rounding,peers,digits,bench/traces"
    done = checkout.run("reproduce.sh", "--dry-run", "--only", names)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(maxsplit=1) for line in lines[:5]] == [
        ["steps", "about 6 min"],
        ["rounding", "about 2 min, and 2 commands that nobody has timed"],
        ["peers", "time unknown: 4 commands that nobody has timed"],
        ["digits", "about 4 min"],
        ["bench/traces", "time unknown: 1 command that nobody has timed"],
    ]
    # 360 + 100 + 4 * 60 s
    assert (
        "in all: about 12 min, and 7 commands that nobody has timed, for 5 of 5 results" in lines[5]
    )
    assert all("--dry-run" in call for call in checkout.calls)


def test_what_is_not_committed_is_refused_unless_allowed(checkout: Checkout) -> None:
    checkout.write("new.py", "")
    refused = checkout.run("reproduce.sh", "--only", "steps")
    assert refused.returncode == 2
    assert "new.py" in refused.stderr
    assert checkout.calls == []
    allowed = checkout.run("reproduce.sh", "--only", "steps", "--allow-dirty")
    assert allowed.returncode == 0, allowed.stderr
    assert "-dirty" in allowed.stdout


def test_what_is_in_no_git_is_refused_unless_allowed(checkout: Checkout) -> None:
    shutil.rmtree(checkout.path / ".git")
    refused = checkout.run("reproduce.sh", "--dry-run", "--only", "steps")
    assert refused.returncode == 2
    assert "no commit of git" in refused.stderr
    assert (
        checkout.run("reproduce.sh", "--dry-run", "--only", "steps", "--allow-dirty").returncode
        == 0
    )


def test_the_same_command_runs_what_is_missing_and_install_copies_it(checkout: Checkout) -> None:
    chosen = ("--only", "steps,bench/traces,digits")
    checkout.write("calls", "")
    (checkout.path / "cut").touch()
    cut = checkout.run("reproduce.sh", *chosen, "--allow-dirty", "--out", "results/runs/r")
    assert cut.returncode == 130, "Ctrl-C in a training"
    (checkout.path / "cut").unlink()
    for _ in range(2):
        done = checkout.run("reproduce.sh", *chosen, "--out", "results/runs/r")
        assert done.returncode == 0, done.stderr
    assert [call.split()[0] for call in checkout.calls] == ["steps", "bench", "train", "train"]
    assert checkout.calls[-1] == "train resume=results/runs/r/digits"
    assert (checkout.path / "results/digits/samples.png").read_text() == "old"
    installed = checkout.run("reproduce.sh", *chosen, "--out", "results/runs/r", "--install")
    assert installed.returncode == 0, installed.stderr
    for name in ("digits/samples.png", "steps/table.md", "bench/traces/table.md"):
        assert (checkout.path / "results" / name).read_text() == "new"
    [record] = json.loads((checkout.path / "results/bench/traces/records.json").read_text())
    assert record == {"seconds": {"total": 1}}


def test_what_another_machine_has_done_at_this_commit_is_kept(
    checkout: Checkout, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    for name, commit in (("steps", checkout.head()), ("rounding", "0123456789ab")):
        (results / name).mkdir(parents=True)
        text = json.dumps({"missing": 0, "environments": [{"commit": commit}]}, indent=1)
        (results / name / "records.json").write_text(text)
    (results / "steps" / "table.md").write_text("theirs")
    chosen = ("--only", "steps,rounding", "--keep", "--results", str(results))
    done = checkout.run("reproduce.sh", *chosen)
    assert done.returncode == 0, done.stderr
    assert "rounding/records.json is of commit 0123456789ab" in done.stdout
    assert len(checkout.calls) == 1
    assert checkout.calls[0].startswith("rounding --out")
    assert checkout.calls[0].endswith("--keep")
    installed = checkout.run("reproduce.sh", *chosen, "--install")
    assert installed.returncode == 0, installed.stderr
    assert (results / "steps" / "table.md").read_text() == "theirs"
    assert (results / "rounding" / "table.md").read_text() == "new"


def test_what_has_begun_is_installed_where_asked_for(checkout: Checkout) -> None:
    checkout.command("experiments/steps.py", EXPERIMENT.format(told="", missing=3))
    chosen = ("--only", "steps", "--allow-dirty")
    assert checkout.run("reproduce.sh", *chosen).returncode == 1
    assert "steps is not finished" in checkout.run("reproduce.sh", *chosen, "--install").stdout
    table = checkout.path / "results/steps/table.md"
    assert not table.exists()
    done = checkout.run("reproduce.sh", *chosen, "--install", "--partial")
    assert "steps: not finished, copied to results/steps" in done.stdout
    assert table.read_text() == "new"


def test_the_published_trainings_are_installed_with_their_weights(checkout: Checkout) -> None:
    checkout.command("experiments/table4.py", EXPERIMENT.format(told="", missing=1))
    checkout.commit()
    out = checkout.path / "results" / "runs" / "made" / "table4"
    for label, status in (("Cahn-Hilliard", "ok"), ("KdV", "interrupted")):
        run = out / "runs" / f"full-{label}-symplectic-seed-0"
        run.mkdir(parents=True)
        for name in ("history.csv", "config.yaml", "best.pt", "checkpoint.pt"):
            (run / name).write_text(label)
        (run / "record.json").write_text(f'{{"status": "{status}"}}')
    (out / "records.json").write_text('{"missing": 1,\n"cells": []}')
    made = ("--out", str(out.parent), "--only", "table4")
    done = checkout.run("reproduce.sh", "--install", "--partial", *made)
    assert done.returncode == 0, done.stderr
    results = checkout.path / "results"
    found = {file.name for file in (results / "cahn_hilliard_training").iterdir()}
    assert found == {"record.json", "history.csv", "config.yaml", "best.pt"}
    assert not (results / "kdv_training").exists()


def test_a_record_without_seconds_is_no_estimate(checkout: Checkout) -> None:
    checkout.write("results/bench/traces/records.json", '[{"kind": "bench", "seconds": {}}]')
    checkout.commit()
    done = checkout.run("reproduce.sh", "--dry-run", "--only", "bench/traces")
    assert "time unknown: 1 command that nobody has timed" in done.stdout
    checkout.run("reproduce.sh", "--only", "bench/traces")
    done = checkout.run("reproduce.sh", "--dry-run", "--only", "bench/traces")
    assert "in all: nothing, for 0 of 1 results" in done.stdout


def test_an_unfinished_experiment_is_named(checkout: Checkout) -> None:
    checkout.command("experiments/steps.py", EXPERIMENT.format(told="", missing=3))
    done = checkout.run("reproduce.sh", "--only", "steps,rounding", "--allow-dirty")
    assert done.returncode == 1
    assert "not done: steps;" in done.stdout


def test_nothing_starts_when_the_time_is_up(checkout: Checkout) -> None:
    done = checkout.run("reproduce.sh", "--only", "steps,digits", "--max-minutes", "0")
    assert done.returncode == 1
    assert checkout.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only", "table9"), "table9: no such result"),
        (("--max-minutes", "ten"), "whole number"),
        (("--out", "a b"), "letters, digits"),
        (("--fast",), "unknown argument --fast"),
        (("--partial",), "--partial is for --install"),
        (("--results", "nowhere"), "no such directory"),
        (("--only",), "needs a value"),
    ],
)
def test_bad_arguments_are_refused(
    checkout: Checkout, arguments: tuple[str, ...], message: str
) -> None:
    done = checkout.run("reproduce.sh", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
