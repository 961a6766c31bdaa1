"""A checkpoint that is not as it was written is refused before anything else happens."""

from __future__ import annotations

import copy
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from symadj.errors import InputError
from symadj.run.checkpoint import load_checkpoint, load_tensors, save_checkpoint
from tests.faults.runs import FLOW, MORE, command, digest, iterations, plain, resume


@pytest.mark.parametrize(
    ("name", "load"), [("checkpoint.pt", load_checkpoint), ("best.pt", load_tensors)]
)
def test_a_flipped_bit_is_noticed_or_changes_nothing(
    tmp_path: Path, finished: Path, name: str, load: Callable[[Path], Any]
) -> None:
    good = (finished / name).read_bytes()
    values = plain(load(finished / name))
    path, draw = tmp_path / name, random.Random(0)
    messages = []
    for _ in range(300):
        bit = draw.randrange(8 * len(good))
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        try:
            assert plain(load(path)) == values, f"bit {bit}"
        except InputError as error:
            messages.append(str(error))
    assert len(messages) > 150  # the others are in the gaps between the parts of the file
    assert all(name in text and "weights_only" not in text for text in messages)


@pytest.mark.parametrize("length", [0, 1, 1000, -1])
def test_a_checkpoint_that_was_cut_off_is_refused(
    tmp_path: Path, finished: Path, length: int
) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes((finished / "checkpoint.pt").read_bytes()[:length])
    with pytest.raises(InputError, match=r"checkpoint\.pt"):
        load_checkpoint(path)


NAN, HUGE = float("nan"), 10**9
# Where in the checkpoint, and what may not stand there.
WRONG: list[tuple[str, list[Any]]] = [
    ("progress", [None, 3, [], {}]),
    ("progress.iteration", [None, "3", 2.5, NAN, -1, HUGE, 10**30, torch.tensor(3), True]),
    ("progress.wall", [None, "x", NAN, -1.0]),
    ("progress.loss", [None, "x", []]),
    ("progress.stale", [None, -1, 1.5, HUGE]),
    ("progress.validated", [None, -1, NAN, HUGE]),
    ("progress.stats", [None, {}, {"forward": "x"}, {"unknown": 1}]),
    ("progress.stats.forward", [None, -1, 1.5, "x"]),
    ("timings", [None, [], {}, {"iteration": "x"}]),
    ("timings.forward", [None, "x", ["x"], [None]]),
    ("memory", [3, "x", []]),
    ("model", [None, {}, [], {"unknown": torch.zeros(1)}]),
    ("model.*", [None, 1.0, torch.zeros(3, 7), torch.zeros(0), "x"]),
    ("average", [3, {}, {"unknown": torch.zeros(1)}]),
    ("average.*", [None, torch.zeros(3, 7), "x"]),
    ("optimizer", [None, {}, [], {"state": {}}]),
    ("optimizer.state", [None, {}, {0: {}}, {HUGE: {}}]),
    ("optimizer.state.*", [None, {}, {"exp_avg": torch.zeros(3, 7)}]),
    ("optimizer.state.*.exp_avg", [None, "x", torch.zeros(3, 7), torch.zeros(0)]),
    ("optimizer.param_groups", [None, [], [{}], {}]),
    ("scheduler", [None, [], {}, {"last_epoch": "x"}]),
    ("random", [None, {}, torch.zeros(3)]),
    ("batches", [None, torch.zeros(3), torch.zeros(5056), "x"]),
    ("best", [3, {}, [], {"iteration": 2}]),
    ("best.iteration", [None, "x", NAN, -1, HUGE]),
    ("best.metric", [None, "x", NAN]),
    ("best.model", [None, {}, {"unknown": torch.zeros(1)}]),
    ("best.model.*", [None, torch.zeros(3, 7)]),
]
CASES = [(path, number) for path, values in WRONG for number in range(len(values))]


def _first(node: Any) -> Any:
    return 0 if isinstance(node, list) else next(iter(node))


def replaced(state: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of a checkpoint's state with another value there; "*" is the first one."""
    changed = copy.deepcopy(state)
    *way, last = path.split(".")
    node: Any = changed
    for name in way:
        node = node[_first(node) if name == "*" else name]
    node[_first(node) if last == "*" else last] = value
    return changed


@pytest.mark.parametrize(
    "share",
    [
        *(pytest.param(slice(n, None, 4), marks=pytest.mark.faults) for n in range(4)),
        pytest.param(slice(4, None, 23), id="some"),
    ],
)
def test_a_wrong_entry_is_refused_before_anything_is_touched(
    tmp_path: Path, finished: Path, share: slice
) -> None:
    state = load_checkpoint(finished / "checkpoint.pt")
    state.pop("schema", None)
    wrong = []
    for path, number in CASES[share]:
        value = dict(WRONG)[path][number]
        run = tmp_path / f"{path.replace('*', 'x')}-{number}"
        shutil.copytree(finished, run)
        save_checkpoint(run / "checkpoint.pt", replaced(state, path, value))
        before = digest(run)
        done = command(resume(run, f"train.steps={MORE}"), seconds=10)
        if (done.code, digest(run) == before) != (2, True) or "checkpoint.pt" not in done.err:
            wrong.append(f"{path}={value!r:.30}: {done.code} {done.signal} {done.err[-200:]}")
        elif re.search("Traceback|weights_only", done.text):
            wrong.append(f"{path}={value!r:.30}: {done.err[-200:]}")
    assert not "\n".join(wrong)


def test_rows_that_a_history_lacks_are_counted_aloud(tmp_path: Path, finished: Path) -> None:
    head, *rows = (finished / "history.csv").read_text().splitlines(keepends=True)
    for number, kept in enumerate((rows[:4], rows[:2] + rows[3:], [])):
        run = tmp_path / str(number)
        shutil.copytree(finished, run)
        (run / "history.csv").write_text("".join([head, *kept]))
        done = command(resume(run, f"train.steps={MORE}"))
        lost = [n for n, row in enumerate(rows, start=1) if row not in kept]
        assert done.code == 0, done.text
        assert f"history.csv lacks {len(lost)} of" in done.text
        assert iterations(run) == [n for n in range(1, MORE + 1) if n not in lost]


@pytest.fixture
def on_a_table(tmp_path: Path) -> tuple[Path, Path]:
    """A run and the csv that it learned from."""
    path = tmp_path / "table.csv"
    path.write_text("".join(f"{n % 7},{n % 5}.5\n" for n in range(100)))
    own = [word for word in FLOW if not word.startswith("data")]
    words = ["train", *own, "data=csv", f"data.path={path}", f"out={tmp_path}", "name=run"]
    done = command(words)
    assert done.code == 0, done.text
    return tmp_path / "run", path


def test_a_data_file_that_changed_is_refused(on_a_table: tuple[Path, Path]) -> None:
    run, path = on_a_table
    text = path.read_text()
    for changed in (text[: len(text) // 2], text.replace("3,3.5", "3,4.5", 1), text + "1,1.5\n"):
        path.write_text(changed)
        for words in (resume(run, f"train.steps={MORE}"), ["eval", run], ["sample", run]):
            before = digest(run)
            done = command(words)
            assert (done.code, "table.csv" in done.err) == (2, True), done.text
            assert digest(run) == before


def test_a_data_file_that_moved_is_named_anew(on_a_table: tuple[Path, Path]) -> None:
    run, path = on_a_table
    moved = path.rename(path.with_name("moved.csv"))
    for words in (["eval", run], resume(run, f"train.steps={MORE}")):
        refused = command(words)
        assert (refused.code, "table.csv" in refused.err) == (2, True), refused.text
        done = command([*words, f"data.path={moved}"])
        assert done.code == 0, done.text
