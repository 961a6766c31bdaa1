"""Small trainings for the fault tests, and what of a finished one may not differ from another's."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from symadj.cli import bench, evaluate, guide, report, sample, train
from symadj.records.record import RunRecord
from symadj.run.checkpoint import load_checkpoint, load_tensors
from tests.faults.disk import Call, Disk
from tests.faults.forked import Ended, in_child

# Six iterations of a flow in a tenth of a second, with all that a checkpoint can hold.
FLOW = (
    *("data=toy2d", "data.size=60", "model=cnf", "model.hidden=[4]", "task=density", "optim=adam"),
    *("solver=rk4", "solver.num_steps=2", "train.batch_size=10", "train.ema=0.9", "measure=none"),
    *("train.steps=6", "train.eval_every=2", "train.figures=false", "threads=1"),
)
STEPS, MORE = 6, 9
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "train": train.main,
    "eval": evaluate.main,
    "sample": sample.main,
    "guide": guide.main,
    "report": report.main,
    "bench": bench.main,
}


def flow(out: Path, *more: str, name: str = "run") -> list[str]:
    """The command line that trains the flow in `out/name`."""
    return ["train", *FLOW, f"out={out}", f"name={name}", *more]


def resume(run: Path, *more: str) -> list[str]:
    """The command line that goes on with a run."""
    return ["train", f"resume={run}", *more]


def looks(run: Path) -> dict[str, list[str]]:
    """The command lines that look at a run and need not go on with it."""
    desk = run.parent.parent / "desk"
    report = ["report", str(run.parent), "--rows", "grad,data,solver", "--out", f"{desk}/tables"]
    bench = [word for word in FLOW if not word.startswith("train.") or "batch" in word]
    return {
        "eval": ["eval", str(run)],
        "sample": ["sample", str(run), "n=4"],
        "report": [*report, "--no-plots"],
        "figures": report,
        "bench": [
            *("bench", *bench, f"weights={run}", f"out={desk}", "grads=[symplectic]"),
            *("repeats=1", "isolate=false", "compare=false"),
        ],
    }


def command(words: Sequence[object], **options: Any) -> Ended:
    """Runs a command of symadj, its first word without "symadj-", in a child; see `in_child`."""
    name, *arguments = map(str, words)
    # A child of this process cannot use the server that this one forks jobs from.
    inline = ["launcher=inline"] if "-m" in arguments else []
    return in_child(lambda: COMMANDS[name]([*arguments, *inline]), **options)


def dry_pass(run: Path, words: Sequence[str]) -> list[Call]:
    """The calls on files of the run by which a command does its work undisturbed."""
    disk = Disk(run)
    done = command(words, before=disk.install, tell=lambda: [vars(call) for call in disk.calls])
    assert done.code == 0, done.text
    return [Call(**told) for told in done.left]


def files(run: Path) -> set[str]:
    """All files and directories of a run, by their paths in it; not the lock."""
    return {str(p.relative_to(run)) for p in run.rglob("*")} - {".lock"}


def digest(directory: Path) -> dict[str, tuple[int, str]]:
    """Kind and content of everything in a directory; no link in it is followed."""
    return {
        str(p.relative_to(directory)): (p.lstat().st_mode, _content(p))
        for p in directory.rglob("*")
        if p.name != ".lock"
    }


def _content(path: Path) -> str:
    if path.is_symlink():
        return str(path.readlink())
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def iterations(run: Path) -> list[int]:
    """The iterations that a history has whole rows of, in its order."""
    if not (run / "history.csv").exists():
        return []
    header, *rows = csv.reader((run / "history.csv").read_text().splitlines())
    return [int(row[0]) for row in rows if len(row) == len(header)]


def progress(run: Path) -> int:
    """Iterations in the checkpoint; -1 where there is none."""
    path = run / "checkpoint.pt"
    return load_checkpoint(path)["progress"]["iteration"] if path.exists() else -1


def check_sound(run: Path) -> None:
    """Whatever a kill has left can be read, and the history has all that the checkpoint has."""
    if (run / "record.json").exists():
        RunRecord.load(run / "record.json")
    rows = iterations(run)
    assert rows == list(range(1, len(rows) + 1))
    assert len(rows) >= progress(run)


def outcome(run: Path) -> dict[str, Any]:
    """Everything that a run computed, exactly, and nothing of its times."""
    record = RunRecord.load(run / "record.json")
    header, *rows = csv.reader((run / "history.csv").read_text().splitlines())
    clock = [number for number, name in enumerate(header) if name in ("wall", "seconds")]
    state = load_checkpoint(run / "checkpoint.pt")
    state["progress"].pop("wall")
    return {
        "status": (record.status, record.error, record.iterations),
        "metrics": record.metrics,
        "counts": (record.evaluations, record.steps),
        "rows": [[c for i, c in enumerate(row) if i not in clock] for row in rows],
        "checkpoint": plain({k: v for k, v in state.items() if k != "timings"}),
        "best": plain(load_tensors(run / "best.pt")),
        "files": files(run),
    }


def plain(value: Any) -> Any:
    """A checkpoint's values with tensors as (dtype, shape, bytes), to be compared by ==."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        return str(value.dtype), tuple(value.shape), flat
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return repr(value) if isinstance(value, float) else value
