"""The archive: fetched over HTTP, checked, unpacked safely, and refused where it is not right."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from symadj.data import disk
from symadj.data.maf import archive
from symadj.errors import InputError, SymadjError
from tests.data.http_server import Site
from tests.data.maf.small_archive import pack


def everything_below(root: Path) -> list[str]:
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


def test_fetch_leaves_the_tabular_files_and_nothing_else(
    fetched: Path, files: dict[str, bytes]
) -> None:
    expected = [f"maf/{name}" for name in (*archive.FILES, "manifest.json")]
    assert everything_below(fetched) == sorted(expected)
    for name in archive.FILES:
        assert archive.raw_file(fetched, name).read_bytes() == files[name]
    assert archive.is_fetched(fetched)


def test_fetch_takes_up_a_cut_download(root, packed, serve_archive, site: Site) -> None:
    md5 = serve_archive(packed)
    site.cuts = [10_000, None]
    archive.fetch(root, md5=md5)
    assert site.asked == ["", "bytes=10000-"]
    assert archive.is_fetched(root)


def test_fetching_again_asks_nothing(fetched: Path, site: Site) -> None:
    archive.fetch(fetched)
    assert len(site.asked) == 1


def test_a_wrong_checksum_unpacks_nothing_and_starts_over(
    root, packed, serve_archive, site: Site
) -> None:
    serve_archive(packed)
    with pytest.raises(
        SymadjError, match=r"MD5 is [0-9a-f]{32}, not 9b9c9b0375315ad270eba4ce80c093ab"
    ):
        archive.fetch(root)
    assert everything_below(root) == []
    with pytest.raises(SymadjError, match="MD5"):
        archive.fetch(root)
    assert site.asked == ["", ""]


def test_an_address_given_wins_over_the_environment(
    root, packed, serve_archive, site: Site, monkeypatch
) -> None:
    md5 = serve_archive(packed)
    address = os.environ["SYMADJ_MAF_URL"]
    monkeypatch.setenv("SYMADJ_MAF_URL", f"{site.address}/elsewhere")
    archive.fetch(root, url=address, md5=md5.upper())
    assert archive.is_fetched(root)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_an_archive_of_one_s_own_is_taken_from_its_file_and_kept(
    root, packed, serve_archive, tmp_path: Path, prefix: str
) -> None:
    md5 = serve_archive(packed)
    own = tmp_path / "own.tar.gz"
    own.write_bytes(packed)
    with pytest.raises(SymadjError, match="MD5"):
        archive.fetch(root, url=f"{prefix}{own}")
    archive.fetch(root, url=f"{prefix}{own}", md5=md5)
    assert archive.is_fetched(root)
    assert own.read_bytes() == packed


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "evil",
    [
        member("../../evil"),
        member("data/../../evil"),
        member("data/link", tarfile.SYMTYPE, "/etc"),
        member("data/link", tarfile.SYMTYPE, "../../outside"),
        member("data/hard", tarfile.LNKTYPE, "../../outside"),
        member("data/device", tarfile.CHRTYPE),
    ],
    ids=lambda m: f"{m.name}-{m.type.decode()}",
)
def test_an_unsafe_member_makes_the_archive_refused(root, files, serve_archive, evil) -> None:
    with pytest.raises(SymadjError, match=r"was refused and nothing of it was kept"):
        archive.fetch(root, md5=serve_archive(pack(files, (evil,))))
    assert not archive.is_fetched(root)
    assert not list(root.parent.rglob("evil"))
    assert everything_below(root) == []


def test_a_link_in_the_place_of_a_file_is_refused(root, files, serve_archive) -> None:
    rest = {name: content for name, content in files.items() if name != "power/data.npy"}
    link = member("data/power/data.npy", tarfile.SYMTYPE, "../miniboone/data.npy")
    with pytest.raises(SymadjError, match=r"data/power/data\.npy is no plain file"):
        archive.fetch(root, md5=serve_archive(pack(rest, (link,))))
    assert not archive.is_fetched(root)


def test_an_incomplete_archive_is_named_with_what_it_lacks(root, files, serve_archive) -> None:
    rest = {name: content for name, content in files.items() if not name.startswith("hepmass")}
    with pytest.raises(SymadjError, match=r"lacks data/hepmass/1000_train\.csv, data/hepmass"):
        archive.fetch(root, md5=serve_archive(pack(rest)))
    assert not archive.is_fetched(root)


@pytest.mark.parametrize("damage", ["no archive", "cut"])
def test_a_file_that_is_no_whole_archive_is_named(root, packed, serve_archive, damage) -> None:
    content = b"<html>sign in</html>" if damage == "no archive" else packed[: len(packed) // 2]
    with pytest.raises(SymadjError, match="is no whole tar archive"):
        archive.fetch(root, md5=serve_archive(content))
    assert not archive.is_fetched(root)


def test_a_disk_that_fills_up_while_unpacking_leaves_nothing(
    root, packed, serve_archive, site: Site, monkeypatch
) -> None:
    md5 = serve_archive(packed)

    class FullDisk(io.BytesIO):
        def write(self, block) -> int:
            if self.tell() > 0:
                raise OSError(28, "No space left on device")
            return super().write(block[:100])

    monkeypatch.setattr(archive, "open_to_write", lambda path: FullDisk())
    with pytest.raises(SymadjError, match=r"disk is full: .*power/data\.npy .*data_dir=DIR"):
        archive.fetch(root, md5=md5)
    assert not archive.is_fetched(root)
    assert everything_below(root) == ["downloads/maf-data.tar.gz"]
    monkeypatch.undo()
    # With room again, the downloaded archive is there and is not fetched a second time.
    archive.fetch(root, url=f"{site.address}/data.tar.gz", md5=md5)
    assert archive.is_fetched(root)
    assert len(site.asked) == 1


def test_too_little_room_for_a_member_is_found_before_it_is_written(
    root, packed, serve_archive, tmp_path: Path, monkeypatch
) -> None:
    own = tmp_path / "own.tar.gz"
    own.write_bytes(packed)
    free = disk.shutil.disk_usage(root.parent)._replace(free=100)
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: free)
    with pytest.raises(SymadjError, match=r"are needed in .* 100 B are free"):
        archive.fetch(root, url=str(own), md5=serve_archive(packed))
    assert everything_below(root) == []


def test_without_the_archive_the_error_has_the_command(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"by: symadj-data fetch maf$"):
        archive.raw_file(root, "power/data.npy")
    with pytest.raises(InputError, match=rf"by: symadj-data fetch maf --data-dir {tmp_path}/b$"):
        archive.raw_file(tmp_path / "b", "power/data.npy")


def test_a_file_that_was_changed_since_is_not_opened(fetched: Path) -> None:
    name = "gas/ethylene_CO.pickle"
    path = archive.verified_file(fetched, name)
    changed = path.read_bytes().replace(b"dataframe", b"dataframE")
    path.write_bytes(changed)
    with pytest.raises(SymadjError, match=r"is not what the archive holds and is not opened"):
        archive.verified_file(fetched, name)


def test_a_manifest_that_says_nothing_of_a_file_vouches_for_nothing(fetched: Path) -> None:
    (fetched / "maf" / "manifest.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(SymadjError, match="is not opened"):
        archive.verified_file(fetched, "gas/ethylene_CO.pickle")


def test_a_set_that_lost_a_file_is_fetched_again(fetched: Path, packed, serve_archive) -> None:
    archive.raw_file(fetched, "power/data.npy").unlink()
    with pytest.raises(InputError, match="fetch maf"):
        archive.raw_file(fetched, "miniboone/data.npy")
    archive.fetch(fetched, md5=serve_archive(packed))
    assert archive.raw_file(fetched, "power/data.npy").is_file()
