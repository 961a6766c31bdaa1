from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from symadj.cli.train import main
from symadj.config.groups import GUIDE_GROUPS, group_options
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from tests.standins import CONFIGS, losses

ROOT = Path(__file__).parents[2]
STANDIN = ["--config-dir", str(CONFIGS), "experiment=standin"]


def run(tmp_path: Path, *arguments: str) -> int:
    return main([*STANDIN, f"out={tmp_path / 'runs'}", *arguments])


def records(tmp_path: Path) -> list[RunRecord]:
    return [RunRecord.load(p) for p in sorted((tmp_path / "runs").glob("*/record.json"))]


def test_a_run_says_what_it_is_and_where_everything_was_written(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tmp_path, "grad=aca", "solver=tsit5", "train.figures=true") == 0
    out, err = capsys.readouterr()
    [record] = records(tmp_path)
    for text in ("cloud, 2 dimensions: 40 train", "Flow, 22 parameters", "tsit5, adaptive", "aca"):
        assert text in out
    assert f"{record.metrics['test/nll']:.4f} nats" in out
    assert f"{record.metrics['test/bits_per_dim']:.4f} bits/dim" in out
    assert str(tmp_path / "runs" / record.name) in out
    for file in ("record.json", "history.csv", "checkpoint.pt", "config.yaml", "log.txt"):
        assert file in out
    lines = [json.loads(line) for line in err.splitlines()]  # no terminal: nothing else stands here
    assert [line["iteration"] for line in lines] == [2, 4, 6]
    assert (
        lines[-1]["val_nll"]
        == read_history(tmp_path / "runs" / record.name / "history.csv")["val_nll"].iloc[-1]
    )


BAD = [
    (
        ["solver=dopr5"],
        "unknown solver=dopr5. Did you mean 'dopri5'? Allowed: alf, alf4, ",
    ),
    (["grad=sympletic"], "Did you mean 'symplectic'? Allowed: aca, adjoint, auto, backprop"),
    (["data=digit"], "unknown data=digit. Did you mean 'digits'? Allowed: "),
    (["experiment=toy"], "unknown experiment=toy. Did you mean 'toy2d'?"),
    (["slover=rk4"], "unknown setting slover. Did you mean 'solver'?"),
    (["grad=auto", "grad.memory=1MiB", "slover=rk4"], "unknown setting slover."),
    (["train.stps=3"], "unknown setting train.stps. Did you mean 'steps'?"),
    (["solver.rtoll=1"], "unknown setting solver.rtoll. Did you mean 'rtol'?"),
    (["+solver.rtoll=1"], "unknown setting solver.rtoll. Did you mean 'rtol'?"),
    (["+foo=1"], "unknown setting foo."),
    (["data.path=x.csv"], "unknown setting data.path. It is a setting of data=csv"),
    (["train.steps=abc"], "train.steps='abc'; the number of training iterations must be a whole"),
    (
        ["train.steps=0"],
        "train.steps=0; the number of training iterations must be a whole number from 1 to",
    ),
    (["train=3"], "train=3: one name is needed. Allowed: flow_matching."),
    (["seed=1.5"], "seed=1.5; the seed of the run's random numbers must be a whole number from"),
    (["model.width=wide"], "model.width='wide'; it must be a whole number."),
    (["lr=0.1"], "unknown setting lr. Did you mean optim.lr?"),
    (["train.test=maybe"], "train.test='maybe'; it must be true or false."),
    (["out=[1]"], "out=[1]; it must be a text."),
    (["train.steps.a=1"], "train.steps is one setting and has none below it"),
    (["solver.rtol=${nope}"], "solver.rtol=${nope}: there is no such setting to take"),
    (["+train.foo=1"], "unknown setting train.foo."),
    (["+seed=1"], "+seed: that setting is there; write seed=VALUE."),
    (["+solver=rk4"], "the group solver is there; choose its option by solver=rk4."),
    (["solver@grad=rk4"], "a group is chosen by solver=NAME, without '@'"),
    (["~train"], "~train: nothing can be taken out of a configuration."),
    (["hydra.run.dir=x"], "hydra.run.dir=x: no setting of Hydra's own has an effect here."),
    (["measure.memory=none", "measure.memory_budget=1MB"], "so nothing keeps the budget"),
    (["solver=rk4", "solver.num_steps=2", "solver.rtol=1e-3"], "solver.rtol has no effect:"),
    (["grad=adjoint", "grad.options={num_steps: -1}"], "grad.options.num_steps=-1; the number"),
    (
        ["solver.step_size=1", "solver.num_steps=1"],
        "solver.step_size=... and solver.num_steps=... are",
    ),
    (["solver=rk4", "solver.num_steps=200000"], "is more than solver.max_steps=100000"),
    (
        ["threads=2147483648"],
        "threads=2147483648; the number of torch's threads on the CPU must be",
    ),
    (
        ["data=digits", "train.batch_size=2000"],
        "train.batch_size=2000, and digits has 1439 training",
    ),
    (["-m", "seed=range(0,10,0)"], "a STEP that is not 0"),
    (["-m", "seed=range(0,0)"], "this names no value, so there is no job"),
    (["-m", "seed=range(0,1000000000)"], "1,000,000,000 jobs are more than one sweep may have"),
    (["grad=aca,symplectic"], "needs -m: symadj-train -m"),
    (["solver=[rk4,euler]"], "solver=[rk4,euler]: one name is needed. Allowed:"),
    (["model=null"], "model=null: one name is needed. Allowed:"),
    (["data=csv"], "data.path must be given and is not: data.path=VALUE."),
    (["data=csv", "data.path=none.csv"], "data.path=none.csv: no such file"),
    (["name=a b"], "name='a b' cannot name a run directory"),
    (["nonsense"], "cannot read the override 'nonsense'; write name=value"),
    (["data.path=a b=c(1"], "need quotes: 'data.path=\"a b=c(1\"'"),
    (["solver=rk4"], "give solver.step_size (length of a step) or solver.num_steps"),
    (["solver.rtol=-1"], "solver.rtol=-1; the relative tolerance must be 0 or a number from"),
    (["solver.rtol=nan"], "rtol=nan"),
    (["grad=adjoint", "grad.method=rk5"], "unknown grad.method='rk5'"),
    (["device=gpu"], "unknown device='gpu'; allowed: auto, cpu, cuda, cuda:N."),
    (["dtype=float16"], "unknown dtype='float16'."),
    (["measure.memory=rss"], "unknown meter measure.memory='rss'."),
    (["resume=nowhere"], "resume=nowhere: there is no config.yaml"),
    (["--config-dir", "nowhere"], "there is no such directory"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=[" ".join(a) for a, _ in BAD])
def test_bad_input_is_explained_with_status_2_before_any_training(
    tmp_path: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert run(tmp_path, *arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("symadj-train: ")
    assert message in err
    assert "Traceback" not in out + err
    assert out == ""
    assert all(record.iterations == 0 for record in records(tmp_path))


def test_an_output_directory_that_cannot_be_written_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main([*STANDIN, f"out={tmp_path / 'file'}"]) == 2
    assert "cannot hold run directories" in capsys.readouterr().err


def test_an_unknown_flag_is_bad_input() -> None:
    with pytest.raises(SystemExit) as raised:
        main(["--frobnicate"])
    assert raised.value.code == 2


def test_a_failed_run_exits_with_1_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert run(tmp_path, "task.fail=nonfinite") == 1
    out = capsys.readouterr().out
    assert "nonfinite" in out
    assert "phase forward, t=0.5" in out
    assert [record.status for record in records(tmp_path)] == ["nonfinite"]


def test_a_sweep_gives_every_job_a_directory_and_goes_on_after_failures(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    status = run(tmp_path, "-m", "task.fail=oom,bug,null", "seed=0,1", "train.steps=3")
    out, err = capsys.readouterr()
    assert status == 1
    found = records(tmp_path)
    assert sorted(r.status for r in found) == ["error"] * 2 + ["ok"] * 2 + ["oom"] * 2
    assert len({r.name for r in found}) == 6
    assert {r.seed for r in found} == {0, 1}
    assert "job 1 of 6 failed (oom): planted" in err
    assert "job 3 of 6 failed (error): AttributeError: planted bug" in err
    assert "sweep: 6 jobs, 2 ok, 4 failed" in out


def test_the_jobs_of_a_sweep_equal_runs_by_themselves(tmp_path: Path) -> None:
    assert run(tmp_path, "-m", "grad=aca,symplectic", "seed=0,1") == 0
    swept = {(r.grad, r.seed): r.name for r in records(tmp_path)}
    assert len(swept) == 4
    assert run(tmp_path, "grad=aca", "seed=1", "name=alone") == 0
    runs = tmp_path / "runs"
    assert losses(runs / swept["aca", 1]) == losses(runs / "alone")


def test_a_typo_in_a_sweep_costs_no_training(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(tmp_path, "-m", "grad=aca,sympletic") == 2
    assert "Did you mean 'symplectic'?" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_run_is_resumed_with_what_it_was_made_with(tmp_path: Path) -> None:
    assert run(tmp_path, "name=whole", "model.width=3", "train.steps=8") == 0
    assert run(tmp_path, "name=part", "model.width=3") == 0
    runs = tmp_path / "runs"
    again = [f"resume={runs / 'part'}", "--trust", "tests.standins"]
    assert main([*again, "train.steps=8"]) == 0
    assert losses(runs / "part") == losses(runs / "whole")
    assert RunRecord.load(runs / "part/record.json").config["trust"] == ["tests.standins"]
    assert main([*again, "model.width=4"]) == 2


def test_cfg_prints_the_resolved_configuration_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for flag in (["--cfg"], ["--cfg", "job"]):  # Hydra's users type the second
        assert run(tmp_path, *flag, "seed=4") == 0
        out = capsys.readouterr().out
        assert "_target_: tests.standins.Cloud\n  dim: 2\n  seed: 4" in out
    assert not (tmp_path / "runs").exists()


def test_help_shows_every_group_and_option(capsys: pytest.CaptureFixture) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    listed = out.partition("Groups")[2].partition("Settings")[0].replace(",", " ").split()
    assert not set(GUIDE_GROUPS) & set(listed)
    for group, options in group_options().items():
        if group in GUIDE_GROUPS:
            continue
        at = listed.index(group) + 1
        assert listed[at : at + len(options)] == options
    assert max(len(line) for line in out.splitlines()) <= 100
    for setting in (
        "solver.num_steps=",
        "data.path=FILE",
        "train.steps=",
        "optim.lr=1e-3",
        "resume=",
    ):
        assert sum(setting in line for line in out.splitlines()) == 1


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "symadj.cli.train", *STANDIN, f"out={tmp_path / 'runs'}"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def until(condition, process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "took too long"
        time.sleep(0.05)


def test_ctrl_c_writes_record_and_checkpoint(tmp_path: Path) -> None:
    process = start(tmp_path, "train.steps=100000", "name=cut")
    history = tmp_path / "runs/cut/history.csv"
    until(lambda: history.exists() and len(history.read_text().splitlines()) > 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "interrupted" in err
    record = RunRecord.load(tmp_path / "runs/cut/record.json")
    assert record.status == "interrupted"
    assert record.iterations == len(losses(tmp_path / "runs/cut")) >= 3
    again = [f"resume={tmp_path / 'runs/cut'}", "--trust=tests.standins"]
    assert main([*again, f"train.steps={record.iterations + 1}"]) == 0
