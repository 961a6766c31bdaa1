"""launcher=slurm: submitit's processes on this machine, and commands that act as Slurm's."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from symadj.cli.train import main
from symadj.errors import InputError
from symadj.launch.slurm import SlurmLauncher
from tests.launch.gate import gated, meanwhile, processes, records, until, waiting
from tests.standins import losses, train_quietly

LONG = "train.steps=12"  # enough to come to the gate twice
INTERRUPTED = ("interrupted", 3)  # status and iterations of a run that was at the gate

# What is enough of Slurm here: a job is a folder below $SLURM, named by its number.
COMMANDS = {
    "sbatch": """
export SLURM_JOB_ID=1 SLURM_JOB_NUM_NODES=1
while ! mkdir $SLURM/$SLURM_JOB_ID 2>/dev/null; do ((++SLURM_JOB_ID)); done
cd $SLURM/$SLURM_JOB_ID
cp "$1" script
echo PENDING > state
run() {
    while rm -f requeue; do
        echo RUNNING > state; bash script; [ -e requeue ] || break
    done
    echo COMPLETED > state
}
run > log 2>&1 &
echo "Submitted batch job $SLURM_JOB_ID"
""",
    "srun": """
while [[ $1 == --* ]]; do [[ $1 == --unbuffered ]] && shift || shift 2; done
echo $$ > $SLURM/$SLURM_JOB_ID/pid
exec "$@"
""",
    "squeue": "cat $SLURM/$3/state",
    "sacct": """
cd $SLURM
echo "JobID|State|NodeList"
for job in */; do echo "${job%/}|$(cat $job/state)|here"; done
""",
    "scontrol": 'echo "$@" >> $SLURM/$2/requeued; touch $SLURM/$2/requeue',
    "scancel": "echo COMPLETING > $SLURM/$1/state; kill -TERM $(cat $SLURM/$1/pid)",
}


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the jobs of commands that act as Slurm's."""
    folder, jobs = tmp_path / "bin", tmp_path / "slurm"
    folder.mkdir()
    jobs.mkdir()
    for name, text in COMMANDS.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("SLURM", str(jobs))
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return jobs


def test_without_submitit_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"pip install 'symadj\[slurm\]'"):
        SlurmLauncher()


@pytest.mark.parametrize("words", [{"cluster": "pbs"}, {"gpus": 0.5}, {"time": 0}])
def test_what_slurm_cannot_be_asked_for_is_refused(words: dict[str, float | str]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(words))}=.*must be"):
        SlurmLauncher(**words)  # type: ignore[arg-type]


def test_where_there_is_no_slurm_the_sweep_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    words = gated(tmp_path, "launcher=slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(words) == 2
    assert "srun is not here" in capsys.readouterr().err


@pytest.mark.heavy
def test_a_preempted_job_saves_and_goes_on_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = gated(tmp_path, "launcher=slurm", "launcher.cluster=local")

    def preempt() -> None:
        until(lambda: waiting(tmp_path))
        os.kill(guardian(tmp_path), signal.SIGUSR1)
        until(lambda: [(r.status, r.iterations) for r in records(tmp_path)] == [INTERRUPTED])
        (tmp_path / "open").touch()

    meanwhile(tmp_path, preempt)
    assert main(words) == 0
    [record] = records(tmp_path)
    run = tmp_path / "out" / record.name
    assert f"(resumed: {run})" in capsys.readouterr().out
    _, straight = train_quietly(tmp_path / "straight")
    assert losses(run) == losses(straight)
    assert not list((tmp_path / "out/.jobs").glob("slurm-*")), "what the job came by is removed"


@pytest.mark.heavy
def test_a_job_of_slurm_is_cancelled_by_ctrl_c_and_requeued_when_preempted(
    tmp_path: Path, slurm: Path, capsys: pytest.CaptureFixture
) -> None:
    asked = (f"launcher.{word}" for word in ("partition=fast", "time=90", "memory=2GiB", "gpus=1"))
    words = gated(tmp_path, "launcher=slurm", *asked, "+launcher.options.account=mine", LONG)

    def stop() -> None:
        until(lambda: processes(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    meanwhile(tmp_path, stop)
    assert main(words) == 130
    assert "interrupted" in capsys.readouterr().out.partition("sweep: 1 jobs, 0 ok")[2]
    assert [(r.status, r.iterations) for r in records(tmp_path)] == [INTERRUPTED]
    assert not (slurm / "1/requeued").exists(), "what is cancelled is not queued again"
    script = (slurm / "1/script").read_text()
    for flag in ("partition=fast", "time=90", "mem=2GB", "gpus-per-node=1", "account=mine"):
        assert f"#SBATCH --{flag}\n" in script
    assert "#SBATCH --requeue\n" in script
    assert "#SBATCH --signal=USR2@120\n" in script

    def preempt() -> None:
        until(lambda: waiting(tmp_path))
        os.kill(int((slurm / "2/pid").read_text()), signal.SIGTERM)
        until(lambda: [(r.status, r.iterations) for r in records(tmp_path)] == [("interrupted", 6)])
        (tmp_path / "open").touch()

    for path in tmp_path.glob("*.json"):
        path.unlink()
    meanwhile(tmp_path, preempt)
    assert main(words) == 0
    assert (slurm / "2/requeued").read_text() == "requeue 2\n"
    [record] = records(tmp_path)
    _, straight = train_quietly(tmp_path / "straight", LONG)
    assert losses(tmp_path / "out" / record.name) == losses(straight)


def guardian(folder: Path) -> int:
    """The process of submitit that waits for the job at the gate."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_text().split("\0")
            if "submitit.core._submit" in words and str(folder) in words[-2]:
                return int(path.parent.name)
    raise AssertionError("there is none")
