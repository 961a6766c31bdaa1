from __future__ import annotations

import os
import signal

import pytest

from symadj.run.interrupt import Interrupted, InterruptGuard


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
