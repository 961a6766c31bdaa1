"""One training in several processes: the losses of one, one record, and an end for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from symadj import odeint
from symadj.cli.train import main
from symadj.config.bench import BenchSettings
from symadj.config.compose import compose
from symadj.errors import IncompatibleError, InputError, RankFailed
from symadj.grad import Adjoint
from symadj.ode.settings import SolverSettings
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from symadj.run.checkpoint import load_checkpoint
from symadj.run.train import train
from symadj.share import Share, drawn, sharing
from tests.run.ranked import CASES, settings
from tests.standins import standin_config

ROOT = Path(__file__).parents[2]
# One worker makes the runs that the tests look at.
pytestmark = [pytest.mark.heavy, pytest.mark.xdist_group("ranks")]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of all cases in one process."""
    out = tmp_path_factory.mktemp("one")
    for case in CASES:
        train(compose("train", settings(case, out)))
    return out


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same on two ranks of torchrun, and the rest of a run that one process has begun."""
    out = tmp_path_factory.mktemp("two")
    train(compose("train", [*settings("fixed", out), "name=other_half", "train.steps=25"]))
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "tests.run.ranked", str(out)),
    ]
    variables = os.environ | {"GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=variables, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return out


def history(run: Path) -> pd.DataFrame:
    return read_history(run / "history.csv")


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_ranks_have_the_losses_of_one_process(one: Path, two: Path, case: str) -> None:
    # The shift behind the last norm has a gradient of zero at first, up to rounding, and Adam
    # makes steps of one size of whatever it is given.
    rtol = 1e-6 if case in ("single", "normed") else 1e-12
    ours, theirs = history(two / case), history(one / case)
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=rtol)
    counts = ["forward", "recomputed", "with_graph", "vjps", "accepted", "rejected", "lr"]
    assert ours[counts].equals(theirs[counts])
    records = [RunRecord.load(out / case / "record.json") for out in (two, one)]
    assert [record.status for record in records] == ["ok", "ok"]
    assert [record.environment["devices"] for record in records] == [2, 1]
    # A difference of two almost equal NLLs is known to the rounding of these.
    gaps = [record.metrics.pop("test/nll_gap") for record in records]
    rounding = 1e-7 if case in ("single", "normed") else 1e-12
    assert gaps[0] == pytest.approx(gaps[1], abs=rounding * abs(records[1].metrics["test/nll"]))
    rtol = 1e-3 if case == "normed" else rtol
    assert records[0].metrics == pytest.approx(records[1].metrics, rel=rtol)


@pytest.mark.slow
def test_a_checkpoint_does_not_know_how_many_ranks_there_were(one: Path, two: Path) -> None:
    for case in ("fixed", "spared"):
        ours, theirs = (load_checkpoint(out / case / "checkpoint.pt") for out in (two, one))
        for part in ("model", "average", "optimizer"):
            torch.testing.assert_close(ours[part], theirs[part], rtol=1e-9, atol=1e-14)
        for part in ("random", "batches"):
            torch.testing.assert_close(ours[part], theirs[part], rtol=0, atol=0)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(one: Path, two: Path) -> None:
    whole = history(one / "fixed")["loss"]
    np.testing.assert_allclose(history(two / "other_half")["loss"], whole, rtol=1e-12)
    train(compose("train", [*settings("fixed", two), f"resume={two / 'first_half'}"]))
    np.testing.assert_allclose(history(two / "first_half")["loss"], whole, rtol=1e-12)


@pytest.mark.slow
def test_a_rank_keeps_what_its_share_needs(one: Path, two: Path) -> None:
    of_two, of_one = (RunRecord.load(out / "single" / "record.json").memory for out in (two, one))
    assert of_two is not None
    assert of_one is not None
    assert of_two["checkpoints_bytes"] * 33 == of_one["checkpoints_bytes"] * 17


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_have_the_losses_of_one(tmp_path: Path) -> None:
    runs = []
    for devices in (1, 2):
        words = [*settings("synced", tmp_path), "device=cuda", f"devices={devices}"]
        train(compose("train", [*words, f"name=on_{devices}"]))
        runs.append(history(tmp_path / f"on_{devices}"))
    np.testing.assert_allclose(runs[1]["loss"], runs[0]["loss"], rtol=1e-9)


def failing(out: Path, fail: str) -> RunRecord:
    """A run of two processes the second of which goes wrong in its third iteration."""
    task = ("task._target_=tests.run.ranked.FailingRank", f"task.fail={fail}", "train.steps=100000")
    return train(standin_config(out, *task, "devices=2", "device=cpu", "name=a"))


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    record = failing(tmp_path, "kill")
    assert (record.status, record.iterations) == ("interrupted", 2)
    assert record.error is not None
    assert record.error["message"] == "rank 1 was killed by SIGKILL"
    assert RunRecord.load(tmp_path / "a" / "record.json") == record
    assert load_checkpoint(tmp_path / "a" / "checkpoint.pt")["progress"]["iteration"] == 2


@pytest.mark.faults
@pytest.mark.parametrize(("fail", "status"), [("oom", "oom"), ("nonfinite", "nonfinite")])
def test_a_rank_that_fails_ends_the_run_with_its_status(
    tmp_path: Path, fail: str, status: str
) -> None:
    record = failing(tmp_path, fail)
    assert (record.status, record.iterations) == (status, 2)
    assert record.error is not None
    assert record.error["message"].startswith("rank 1 of 0 to 1: ")


@pytest.mark.faults
def test_a_mistake_on_one_rank_is_told(tmp_path: Path) -> None:
    with pytest.raises(RankFailed, match="rank 1 of 0 to 1: AttributeError: planted bug"):
        failing(tmp_path, "bug")
    assert RunRecord.load(tmp_path / "a" / "record.json").status == "error"


@pytest.mark.faults
def test_a_signal_ends_all_ranks_after_the_same_iteration(tmp_path: Path) -> None:
    # The signal is sent to the second rank alone.
    with pytest.raises(KeyboardInterrupt):
        failing(tmp_path, "interrupt")
    record = RunRecord.load(tmp_path / "a" / "record.json")
    assert (record.status, record.iterations) == ("interrupted", 3)
    assert load_checkpoint(tmp_path / "a" / "checkpoint.pt")["progress"]["iteration"] == 3


def test_shares_are_all_rows_in_order_and_of_nearly_equal_size() -> None:
    shares = [Share.of(11, rank, 3) for rank in range(3)]
    rows = torch.arange(11)
    assert torch.equal(torch.cat([share.cut(rows) for share in shares]), rows)
    assert [share.stop - share.start for share in shares] == [4, 4, 3]
    assert sum(share.weight for share in shares) == pytest.approx(1)
    with pytest.raises(IncompatibleError, match="devices=2"):
        Share.of(2, 0, 3)


def test_noise_of_a_share_is_that_of_the_whole_batch() -> None:
    whole = torch.randn(7, 3)
    torch.manual_seed(0)
    with sharing(Share.of(7, 1, 2)):
        part = drawn((3, 3), torch.randn)
        with pytest.raises(IncompatibleError, match="first dimension"):
            drawn((6, 3), torch.randn)
    assert torch.equal(part, whole[4:])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("device=cpu", "train.batch_size=2"), "train.batch_size=2 cannot be shared by 3"),
        (("device=cuda",), "this machine has"),
        (("device=cuda:1",), "this machine has"),
    ],
)
def test_what_cannot_be_shared_is_refused_before_anything_starts(
    tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        train(standin_config(tmp_path, "devices=3", *overrides))
    assert not any(tmp_path.iterdir())


def test_a_sweep_is_not_for_the_processes_of_torchrun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name, number in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, number)
    assert main(["-m", "seed=0,1"]) == 2
    assert "-m in the processes of torchrun" in capsys.readouterr().err


def test_a_benchmark_measures_one_device() -> None:
    with pytest.raises(IncompatibleError, match="devices=2: a benchmark"):
        BenchSettings(devices=2).check()


def test_the_parameters_integral_takes_no_part_in_steps_of_all_ranks() -> None:
    options = {"sync": True, "first_step": 0.1}
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    t, method = torch.tensor([0.0, 1.0]), Adjoint(seminorm=False)
    with pytest.raises(IncompatibleError, match="seminorm"):
        odeint(lambda t, y: -y, x, t, options=options, gradient=method)
    with pytest.raises(IncompatibleError, match="a norm of your own"):
        SolverSettings(sync=True, norm=torch.linalg.vector_norm)


def test_devices_that_differ_from_torchruns_processes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, number)
    with pytest.raises(InputError, match="devices=3 under a launcher that has started 2"):
        train(standin_config(tmp_path, "devices=3"))
    assert not any(tmp_path.iterdir())
