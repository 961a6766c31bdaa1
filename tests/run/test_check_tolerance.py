"""The look at a flow by a tighter solver: it is recorded, and the training does not notice it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from symadj.config.compose import compose
from symadj.records.history import read_history
from symadj.records.record import RunRecord
from symadj.run.checkpoint import load_checkpoint
from symadj.run.train import train

pytestmark = pytest.mark.filterwarnings("ignore:the NLL of:UserWarning")

SMALL = (
    *("data=toy2d", "data.size=40", "model.hidden=[8]", "optim.lr=0.05", "measure=none"),
    *("solver.rtol=0.1", "solver.atol=0.1", "train.figures=false", "train.batch_size=16"),
    *("train.eval_every=2", "train.eval_batch_size=30"),
)


def run(out: Path, *overrides: str) -> tuple[RunRecord, Path]:
    record = train(compose("train", [*SMALL, f"out={out}", *overrides]), overrides)
    assert record.status == "ok", record.error
    return record, out / record.name


def test_weights_and_losses_are_what_they_are_without_it(tmp_path: Path) -> None:
    with_it, checked = run(tmp_path, "train.steps=6")
    without, plain = run(tmp_path, "train.steps=6", "task.check_tolerance=null")
    ours, theirs = (load_checkpoint(d / "checkpoint.pt")["model"] for d in (checked, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    a, b = (read_history(d / "history.csv") for d in (checked, plain))
    kept = [name for name in b if name not in ("wall", "seconds")]
    assert a[kept].equals(b[kept])
    assert set(a) - set(b) == {"nll_tighter", "nll_gap"}
    assert a["nll_gap"].notna().tolist() == [False, True] * 3
    more = {"test/nll_tighter", "test/nll_gap"}
    assert set(with_it.metrics) - set(without.metrics) == more
    assert with_it.metrics["test/nll"] == without.metrics["test/nll"]


def test_a_resumed_run_looks_at_the_same_things(tmp_path: Path) -> None:
    _, whole = run(tmp_path, "train.steps=8", "optim.schedule=constant")
    _, cut = run(tmp_path, "train.steps=5", "optim.schedule=constant")
    resumed = compose("train", [*SMALL, f"out={tmp_path}", "optim.schedule=constant"])
    again = {**resumed, "resume": str(cut), "train": {**resumed["train"], "steps": 8}}
    assert train(again).status == "ok"
    columns = ["iteration", "loss", "nll_tighter", "nll_gap"]
    a, b = (read_history(d / "history.csv")[columns].iloc[5:] for d in (whole, cut))
    assert a.equals(b)
    assert a["nll_gap"].notna().sum() == 2


def test_it_can_be_switched_on_and_off_between_two_sittings(tmp_path: Path) -> None:
    _, directory = run(tmp_path, "train.steps=4", "task.check_tolerance=null")
    for steps, switch in ((6, "0.1"), (8, "null")):
        config = compose("train", [*SMALL, f"out={tmp_path}", f"task.check_tolerance={switch}"])
        again = {**config, "resume": str(directory), "train": {**config["train"], "steps": steps}}
        assert train(again).status == "ok"
        history = read_history(directory / "history.csv")
        assert history["iteration"].tolist() == list(range(1, steps + 1))
        assert history["val_nll"].notna().sum() == steps // 2
        if switch == "0.1":
            assert history["nll_gap"].notna().tolist() == [False] * 5 + [True]
    assert "nll_gap" not in read_history(directory / "history.csv")
