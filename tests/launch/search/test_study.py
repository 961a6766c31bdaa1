from __future__ import annotations

import threading
from pathlib import Path

import pytest

from symadj.errors import InputError
from symadj.launch.search.study import begin_study, open_study

ABOUT = {"search.metric": "val/nll", "train.steps": 3}


def test_half_a_line_that_a_kill_has_left_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "journal.log"
    study = begin_study(str(journal), "s", "minimize", ABOUT)
    study.tell(study.ask(), 1.0)
    with journal.open("a") as file:
        file.write('{"op_code":4,"worker')
    study = begin_study(str(journal), "s", "minimize", ABOUT)
    study.tell(study.ask(), 2.0)
    assert [trial.value for trial in open_study(str(journal), "s").trials] == [1.0, 2.0]


def test_another_search_of_the_same_name_is_refused_with_what_differs(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.log")
    begin_study(journal, "s", "minimize", ABOUT)
    with pytest.raises(InputError, match=r"train\.steps: 3 there, 4 here.*search\.study=NAME"):
        begin_study(journal, "s", "minimize", {**ABOUT, "train.steps": 4})
    begin_study(journal, "other", "minimize", {**ABOUT, "train.steps": 4})


def test_a_database_by_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    begin_study(url, "s", "maximize", ABOUT).ask()
    assert len(open_study(url, "s").trials) == 1
    with pytest.raises(InputError, match=r"no://host/x cannot be used") as raised:
        begin_study("no://me:secret@host/x", "s", "minimize", ABOUT)
    assert "secret" not in str(raised.value)


def test_a_journal_is_written_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("")
    (tmp_path / "journal.log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="no regular file"):
        begin_study(str(tmp_path / "journal.log"), "s", "minimize", ABOUT)


def test_many_write_at_once_and_nothing_is_lost(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal.log")
    begin_study(journal, "s", "minimize", ABOUT)

    def ask() -> None:
        study = open_study(journal, "s")
        for _ in range(10):
            study.ask()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(open_study(journal, "s").trials) == 30
