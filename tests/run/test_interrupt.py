from __future__ import annotations

import os
import signal

import pytest

from symadj.run.interrupt import Interrupted, InterruptGuard, TimeIsUp


def interrupt_critically(guard: InterruptGuard, reached: list[str]) -> None:
    with guard.critical():
        with guard.critical():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("inner")
        reached.append("outer")
    reached.append("after")


def test_a_signal_waits_for_the_end_of_a_critical_block() -> None:
    reached: list[str] = []
    with InterruptGuard() as guard, pytest.raises(Interrupted) as raised:
        interrupt_critically(guard, reached)
    assert reached == ["inner", "outer"]
    assert raised.value.exit_status == 130


def test_outside_a_critical_block_it_comes_at_once() -> None:
    with InterruptGuard(), pytest.raises(Interrupted) as raised:
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.exit_status == 143


def test_the_former_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with InterruptGuard():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_a_hangup_ends_as_ctrl_c_does_and_usr1_only_asks() -> None:
    with InterruptGuard() as guard:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert guard.checkpoint_asked
        with pytest.raises(Interrupted) as raised:
            os.kill(os.getpid(), signal.SIGHUP)
    assert raised.value.exit_status == 129


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with InterruptGuard():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_time_limit_ends_its_block_and_nothing_after_it() -> None:
    with InterruptGuard() as guard:
        with pytest.raises(TimeIsUp), guard.time_limit(0.01):
            signal.pause()
        with guard.time_limit(100.0):
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_time_limit_waits_for_a_critical_block() -> None:
    reached: list[str] = []

    def wait(guard: InterruptGuard) -> None:
        with guard.time_limit(0.01):
            with guard.critical():
                signal.pause()
                reached.append("end of the block")
            reached.append("after it")

    with InterruptGuard() as guard, pytest.raises(TimeIsUp):
        wait(guard)
    assert reached == ["end of the block"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_that_a_finalizer_swallowed_is_raised_by_the_next_check() -> None:
    class Finalized:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with InterruptGuard():
        InterruptGuard.check()
        held = Finalized()
        del held
        with pytest.raises(Interrupted, match="SIGTERM"):
            InterruptGuard.check()
    InterruptGuard.check()
