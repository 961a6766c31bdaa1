"""The system refuses a write, or a read: the command says which file, and nothing is lost."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.faults.disk import FAILING, Disk, Fail
from tests.faults.forked import Ended
from tests.faults.runs import (
    MORE,
    STEPS,
    check_sound,
    command,
    dry_pass,
    flow,
    outcome,
    resume,
)

CODES = [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EIO]
SHARES = [
    *(pytest.param(slice(share, None, 4), marks=pytest.mark.faults) for share in range(4)),
    pytest.param(slice(9, None, 30), id="some"),
]
LASTING = [
    pytest.param(True, id="lasting"),
    pytest.param(False, id="once", marks=pytest.mark.faults),
]


def failures(run: Path, words: list[str]) -> list[Fail]:
    """Each call of a command failing in one way that it can fail in, the ways in turn."""
    fails = []
    for call in dry_pass(run, words):
        able = [code for code in CODES if call.kind in FAILING[code]]
        if able:
            fails.append(Fail(call.number, able[call.number % len(able)]))
    return fails


def failed(run: Path, words: list[str], fail: Fail) -> Ended:
    """The command on the failing disk, its ending checked."""
    done = command(words, before=Disk(run, fail).install)
    assert not done.signal, (fail, done)
    assert "Traceback" not in done.text, (fail, done.text)
    if done.code == 0:  # what failed was an extra: a line of the log, the removal of a left-over
        return done
    assert done.code in (1, 2), (fail, done.text)
    [message] = [line for line in done.err.splitlines() if line.startswith("symadj-train: ")]
    assert str(run) in message or f"out={run.parent} " in message, (fail, message)
    said = os.strerror(fail.code) in message
    full = fail.code in (errno.ENOSPC, errno.EDQUOT) and "the disk is full" in message
    assert said or full, (fail, message)
    if done.code == 1:
        assert "What was saved before is whole" in message, fail
        assert "resume=" in message, fail
    return done


@pytest.mark.parametrize("lasting", LASTING)
@pytest.mark.parametrize("share", SHARES)
def test_a_training_on_a_failing_disk_loses_nothing(
    tmp_path: Path, whole: dict[int, dict[str, Any]], share: slice, lasting: bool
) -> None:
    for fail in failures(tmp_path / "dry", flow(tmp_path, name="dry"))[share]:
        run = tmp_path / str(fail.at)
        done = failed(run, flow(tmp_path, name=run.name), Fail(fail.at, fail.code, lasting))
        if (run / "config.yaml").exists():
            check_sound(run)
            if done.code != 0:
                assert command(resume(run)).code == 0, fail
            assert outcome(run) == whole[STEPS], (fail, done.text)


@pytest.mark.parametrize("lasting", LASTING)
@pytest.mark.parametrize("share", SHARES)
def test_a_resume_on_a_failing_disk_loses_nothing(
    tmp_path: Path, finished: Path, whole: dict[int, dict[str, Any]], share: slice, lasting: bool
) -> None:
    longer = f"train.steps={MORE}"
    shutil.copytree(finished, tmp_path / "dry")
    for fail in failures(tmp_path / "dry", resume(tmp_path / "dry", longer))[share]:
        run = tmp_path / str(fail.at)
        shutil.copytree(finished, run)
        done = failed(run, resume(run, longer), Fail(fail.at, fail.code, lasting))
        check_sound(run)
        if done.code != 0:
            assert command(resume(run, longer)).code == 0, fail
        assert outcome(run) == whole[MORE], (fail, done.text)
