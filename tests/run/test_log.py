from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from symadj.errors import InputError
from symadj.run.log import logger, run_log
from symadj.terminal import complain, printable, say, tolerant_streams


def test_control_characters_are_escapes_and_lines_stay_lines() -> None:
    assert printable("a\tb\nschön ×") == "a\tb\nschön ×"
    assert printable("\x1b[31mred\x07\r\x9b\ud800\u202e") == r"\x1b[31mred\x07\r\x9b\ud800\u202e"


@pytest.mark.parametrize("gone", [BrokenPipeError, OSError, ValueError])
def test_a_stream_that_goes_away_ends_nothing(
    monkeypatch: pytest.MonkeyPatch, gone: type[Exception]
) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise gone

    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, Gone())
    with tolerant_streams():
        for _ in range(2):
            say("one")
            complain("two")
        print("three", file=sys.stderr)


def test_streams_that_were_never_there_and_letters_they_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    monkeypatch.setattr(sys, "stderr", None)
    with tolerant_streams():
        say("schön")
        complain("nowhere")
    narrow.seek(0)
    assert narrow.read() == "sch\\xf6n\n"


def test_a_log_is_on_disk_from_its_beginning_on(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("old\n")
    with run_log(path) as log:
        logger.info("first")
        assert path.read_text() == "old\n"
        log.begin()
        logger.warning("second")
        lines = path.read_text().splitlines()
    assert [line.split()[-1] for line in lines] == ["old", "first", "second"]


def test_a_log_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("mine")
    os.symlink(tmp_path / "target", tmp_path / "log.txt")
    with run_log(tmp_path / "log.txt") as log, pytest.raises(InputError, match="no regular file"):
        log.begin()
    assert (tmp_path / "target").read_text() == "mine"
