"""Downloads over real HTTP: whole, cut off, taken up again, refused, and on a full disk."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest

from symadj.data import disk
from symadj.data.download import download
from symadj.errors import InputError, SymadjError
from tests.data.http_server import Site

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def url(site: Site) -> str:
    site.files["/file"] = CONTENT
    return f"{site.address}/file"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "file"


def part_of(target: Path) -> Path:
    return target.with_name("file.part")


def test_a_file_arrives_whole_and_leaves_no_part(url: str, target: Path, site: Site) -> None:
    download(url, target, "file")
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()
    assert site.asked == [""]


def test_a_cut_download_goes_on_by_itself_where_it_ended(
    url: str, target: Path, site: Site
) -> None:
    site.cuts = [1_000_000, 1_500_000]
    download(url, target, "file")
    assert target.read_bytes() == CONTENT
    assert site.asked == ["", "bytes=1000000-", "bytes=2500000-"]


def test_a_download_that_is_always_cut_says_so_and_a_later_one_goes_on(
    url: str, target: Path, site: Site
) -> None:
    site.cuts = [1000] * 5
    with pytest.raises(SymadjError, match=r"cut off after 4\.88 KiB.*same command again"):
        download(url, target, "file")
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:5000]
    download(url, target, "file")
    assert target.read_bytes() == CONTENT
    assert site.asked[-1] == "bytes=5000-"


def test_a_download_that_brings_nothing_is_not_tried_again(
    url: str, target: Path, site: Site
) -> None:
    site.cuts = [0, 0, 0, 0, 0]
    with pytest.raises(SymadjError, match="cut off"):
        download(url, target, "file")
    assert len(site.asked) == 1


def test_a_server_without_ranges_sends_the_whole_file_again(
    url: str, target: Path, site: Site
) -> None:
    site.ranges = False
    site.cuts = [2_000_000]
    download(url, target, "file")
    assert target.read_bytes() == CONTENT
    assert site.asked == ["", "bytes=2000000-"]


def test_a_file_without_a_stated_length_arrives(url: str, target: Path, site: Site) -> None:
    site.says_length = False
    download(url, target, "file")
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(url: str, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    download(url, target, "file")
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_thrown_away(url: str, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"more")
    download(url, target, "file")
    assert target.read_bytes() == CONTENT


def test_a_missing_file_is_named_with_the_answer(site: Site, target: Path) -> None:
    with pytest.raises(SymadjError, match=r"/nothing answers 404 Not Found.*--url"):
        download(f"{site.address}/nothing", target, "file")


def test_a_server_that_is_not_there_is_named(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
    with pytest.raises(
        SymadjError, match=r"127\.0\.0\.1.*cannot be reached.*[Cc]onnection refused"
    ):
        download(address, target, "file")


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/file", "file:///etc/hostname", "no/file"])
def test_other_addresses_are_refused(address: str, target: Path) -> None:
    with pytest.raises(InputError, match=r"neither an http\(s\) address nor a file"):
        download(address, target, "file")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_says_what_to_do(url: str, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    with pytest.raises(SymadjError, match=r"disk is full: .*file\.part.*data_dir=DIR"):
        download(url, target, "file")


def test_what_arrived_before_the_disk_was_full_is_kept(
    url: str, target: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_once(file, block, path):
        if file.tell() > 0:
            raise disk.unwritable(path, OSError(28, "No space left on device"))
        file.write(block)

    monkeypatch.setattr("symadj.data.download.write_block", write_once)
    with pytest.raises(SymadjError, match="disk is full"):
        download(url, target, "file")
    kept = part_of(target).stat().st_size
    monkeypatch.undo()
    assert kept > 0
    download(url, target, "file")
    assert target.read_bytes() == CONTENT
    assert site.asked[-1] == f"bytes={kept}-"


def test_too_little_room_is_found_before_anything_is_written(
    url: str, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = disk.shutil.disk_usage(target.parent.parent)._replace(free=2_000_000)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: free)
    with pytest.raises(SymadjError, match=r"2\.86 MiB are needed .* 1\.91 MiB are free"):
        download(url, target, "file")
    assert not part_of(target).exists()


def test_a_directory_that_cannot_be_made_is_named(url: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SymadjError, match=r"file.*cannot be written"):
        download(url, tmp_path / "file" / "below" / "x", "file")
