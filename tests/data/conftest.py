"""Shared by the tests of data sets: a server, and a data directory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data.http_server import Site, serve


@pytest.fixture
def site() -> Iterator[Site]:
    """A server that is up while the test runs."""
    with serve() as running:
        yield running


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data directory, which is the default one while the test runs."""
    path = tmp_path / "data directory"
    monkeypatch.setenv("SYMADJ_DATA", str(path))
    monkeypatch.delenv("SYMADJ_MAF_URL", raising=False)
    return path
