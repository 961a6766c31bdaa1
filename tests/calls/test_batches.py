"""The page on batches says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "batches.md"


def test_the_code_of_the_page_runs_and_prints_what_it_says(capsys) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    code = "".join(blocks)
    exec(code, {})
    printed = capsys.readouterr().out.splitlines()
    promised = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)
    assert len(promised) == 4
    assert promised == printed
