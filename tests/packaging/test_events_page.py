"""The code of docs/events.md, run as printed."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")


def test_the_code_on_the_page_does_what_it_says() -> None:
    """All of it in one go, since later blocks use what earlier ones define; it has its asserts."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 4
    exec("\n".join(blocks), {})
