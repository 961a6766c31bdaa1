"""A job in a process of its own: its answer, and every way in which it can fail to give one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from symadj.errors import MaxStepsExceeded
from symadj.launch import isolate
from symadj.launch.isolate import Ending, run_isolated
from symadj.records.status import Status


def describe(argument: dict[str, Any]) -> dict[str, Any]:
    print("chatter")
    return {"got": argument, "pid": os.getpid(), "argv": sys.argv}


def give_up(argument: None) -> None:
    raise MaxStepsExceeded(
        "too far", phase="forward", t=0.5, h=0.1, steps=7, rejects=2, largest=1.0
    )


def die(argument: int) -> None:
    os.kill(os.getpid(), argument)


def leave(argument: int) -> None:
    print("last words", file=sys.stderr)
    sys.exit(argument)


def wait(argument: float) -> None:
    time.sleep(argument)


def test_a_job_gets_its_argument_and_answers_from_another_process() -> None:
    argument = {"name": "ä", "numbers": [1, 2.5, None]}
    ending = run_isolated(describe, argument)
    assert ending.status == "ok"
    assert ending.error is None
    assert ending.value["got"] == argument
    assert ending.value["pid"] != os.getpid()
    assert ending.value["argv"] == sys.argv


def test_an_exception_is_a_status_with_its_story() -> None:
    ending = run_isolated(give_up, None, quiet=True)
    assert ending.status == "step_limit"
    assert ending.value is None
    assert ending.error is not None
    assert ending.error["type"] == "MaxStepsExceeded"
    assert ending.error["details"]["steps"] == 7
    assert "give_up" in ending.error["traceback"]


def test_a_kill_is_a_status() -> None:
    ending = run_isolated(die, int(signal.SIGKILL), quiet=True)
    assert ending.status == "interrupted"
    assert ending.error is not None
    assert ending.error["type"] == "ProcessKilled"
    assert "SIGKILL" in ending.error["message"]


def test_a_kill_for_want_of_memory_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((3, 4))
    monkeypatch.setattr(isolate, "_memory_kills", lambda: next(counts))
    ending = run_isolated(die, int(signal.SIGKILL), quiet=True)
    assert ending.status == "oom"
    assert ending.error is not None
    assert ending.error["type"] == "OutOfMemoryKilled"


def test_a_crash_is_an_error_with_the_last_words() -> None:
    ending = run_isolated(leave, 3, quiet=True)
    assert ending.status == "error"
    assert ending.error is not None
    assert "exited with 3" in ending.error["message"]
    assert "last words" in ending.error["message"]


def test_a_job_over_its_time_is_ended() -> None:
    started = time.monotonic()
    ending = run_isolated(wait, 600.0, time_limit=0.5, quiet=True)
    assert time.monotonic() - started < 60
    assert ending.status == "interrupted"
    assert ending.error is not None
    assert ending.error["type"] == "TimeLimitExceeded"


def test_an_interrupt_ends_the_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    class Interrupted(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if not started:
                started.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_isolated(wait, 600.0, quiet=True)
    assert started[0].poll() is not None


def test_a_job_that_no_other_process_can_import_is_refused() -> None:
    with pytest.raises(AssertionError, match="top of its module"):
        run_isolated(lambda argument: argument, None)


def test_endings_of_success_have_no_error() -> None:
    assert Ending(Status.OK, 1).error is None
