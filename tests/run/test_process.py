"""A job in a process of its own: its answer, and every way in which it can fail to give one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest
import torch

from symadj.errors import MaxStepsExceeded
from symadj.run import process
from symadj.run.process import Process, run_isolated


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
    print("last words", file=sys.stderr, flush=True)
    os._exit(argument)


def wait(argument: float) -> None:
    time.sleep(argument)


def ignore_signals(ready: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(ready).touch()
    time.sleep(600)


def look_around() -> tuple[str, str, str, int]:
    print("looked around")
    variables = os.environ["SYMADJ_TEST"], os.environ["CUDA_VISIBLE_DEVICES"]
    return os.getcwd(), *variables, torch.get_num_threads()


def test_a_job_gets_its_argument_and_answers_from_another_process() -> None:
    argument = {"name": "ä", "numbers": [1, 2.5, None]}
    ending = run_isolated(describe, argument)
    assert ending.status == "ok"
    assert ending.error is None
    assert ending.value["got"] == argument
    assert ending.value["pid"] != os.getpid()
    assert ending.value["argv"] == sys.argv


def test_an_exception_is_a_status_with_its_story() -> None:
    ending = run_isolated(give_up, None)
    assert ending.status == "step_limit"
    assert ending.value is None
    assert ending.error is not None
    assert ending.error["type"] == "MaxStepsExceeded"
    assert ending.error["details"]["steps"] == 7
    assert "give_up" in ending.error["traceback"]


def test_a_kill_is_a_status() -> None:
    ending = run_isolated(die, int(signal.SIGKILL))
    assert ending.status == "interrupted"
    assert ending.error is not None
    assert ending.error["type"] == "ProcessKilled"
    assert "SIGKILL" in ending.error["message"]


def test_a_kill_for_want_of_memory_is_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter((3, 4))
    monkeypatch.setattr(process, "memory_kills", lambda: next(counts))
    ending = run_isolated(die, int(signal.SIGKILL))
    assert ending.status == "oom"
    assert ending.error is not None
    assert ending.error["type"] == "OutOfMemoryKilled"


def test_a_crash_is_an_error_with_the_last_words() -> None:
    ending = run_isolated(leave, 3)
    assert ending.status == "error"
    assert ending.error is not None
    assert "exited with 3" in ending.error["message"]
    assert "last words" in ending.error["message"]


def test_a_job_over_its_time_is_ended() -> None:
    started = time.monotonic()
    ending = run_isolated(wait, 600.0, time_limit=0.5)
    assert time.monotonic() - started < 60
    assert ending.status == "interrupted"
    assert ending.error is not None
    assert ending.error["type"] == "TimeLimitExceeded"


def test_an_interrupt_ends_the_process_too(monkeypatch: pytest.MonkeyPatch) -> None:
    started = Process(wait, 600.0)
    until(lambda: bool(children()))

    def interrupted(self: Future[Any], timeout: float | None = None) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        started.ending()
    assert not children()


def test_a_process_that_does_not_end_when_asked_to_is_killed(tmp_path: Path) -> None:
    stubborn = Process(ignore_signals, str(tmp_path / "ready"))
    until((tmp_path / "ready").exists)
    stubborn.ask_to_end()
    stubborn.end(grace=0.3)
    assert not children()
    ending = stubborn.ending()
    assert ending.status == "interrupted"
    assert ending.error is not None
    assert ending.error["type"] == "ProcessKilled"


def loaded() -> set[str]:
    return set(sys.modules)


def test_it_is_no_copy_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "only_here", sys)
    assert "only_here" not in run_isolated(loaded).value


def test_it_finds_around_it_what_it_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYMADJ_TEST", "here")
    output = tmp_path / "out.txt"
    given = {"CUDA_VISIBLE_DEVICES": "3"}
    found = Process(look_around, output=output, threads=2, environment=given).ending().value
    assert found == (str(tmp_path), "here", "3", 2)
    assert output.read_text() == "looked around\n"


def children() -> list[str]:
    return [p.name for p in multiprocessing.active_children() if p.name.startswith("symadj-")]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_script_is_not_run_again_by_the_processes_that_it_starts(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\n"
        "from symadj.run.process import Process\n"
        "print('run')\n"
        "print(Process(os.getpid).ending().value != os.getpid())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.splitlines() == ["run", "True"], done.stderr


@pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="has no fork server"
)
def test_two_threads_that_wait_for_a_process_learn_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each finds the pipe with the exit code readable before the other one has emptied it."""
    read = forkserver.read_signed

    def slow(pipe: int) -> int:
        time.sleep(0.2)
        return read(pipe)

    monkeypatch.setattr(forkserver, "read_signed", slow)
    killed = process._context().Process(target=die, args=(signal.SIGKILL,))
    with process.main_unseen():
        killed.start()
    threads = [threading.Thread(target=killed.join) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert killed.exitcode == -signal.SIGKILL
