"""The small archive, made once, and a data directory into which it was fetched over HTTP."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from symadj.data.maf import archive
from tests.data.http_server import Site
from tests.data.maf.small_archive import Raw, contents, pack, raw_data


@pytest.fixture(scope="session")
def raw() -> Raw:
    """The raw arrays in the small archive."""
    return raw_data()


@pytest.fixture(scope="session")
def files(raw: Raw) -> dict[str, bytes]:
    """The small archive's files."""
    return contents(raw)


@pytest.fixture(scope="session")
def packed(files: dict[str, bytes]) -> bytes:
    """The small archive."""
    return pack(files)


@pytest.fixture
def serve_archive(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Serves an archive at the address that SYMADJ_MAF_URL then names; returns its MD5."""

    def serve(content: bytes) -> str:
        site.files["/data.tar.gz"] = content
        monkeypatch.setenv("SYMADJ_MAF_URL", f"{site.address}/data.tar.gz")
        return hashlib.md5(content, usedforsecurity=False).hexdigest()

    return serve


@pytest.fixture
def fetched(root: Path, packed: bytes, serve_archive) -> Path:
    """The data directory after the small archive was fetched."""
    archive.fetch(root, md5=serve_archive(packed))
    return root
