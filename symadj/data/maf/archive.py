"""The MAF archive: fetched, checked against its checksum, and unpacked.

The unpacked files are in `data_dir/maf`, with a manifest that says which archive they come from and
the SHA-256 of each. That directory is made only from an archive whose MD5 matched.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
import shlex
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from symadj.data.directory import data_dir
from symadj.data.disk import (
    CHUNK,
    checksum,
    make_directory,
    open_to_write,
    require_space,
    write_block,
)
from symadj.data.download import download
from symadj.data.prepared import move_directory, new_directory, remove_abandoned
from symadj.errors import InputError, SymadjError

URL = "https://zenodo.org/record/1161203/files/data.tar.gz"
MD5 = "9b9c9b0375315ad270eba4ce80c093ab"
VARIABLE = "SYMADJ_MAF_URL"
COMMAND = "symadj-data fetch maf"
MANIFEST = "manifest.json"

# What is taken of the archive; its image sets are left packed.
FILES = (
    "power/data.npy",
    "gas/ethylene_CO.pickle",
    "hepmass/1000_train.csv",
    "hepmass/1000_test.csv",
    "miniboone/data.npy",
    "BSDS300/BSDS300.hdf5",
)


class ArchiveError(SymadjError):
    """An archive that is the wrong one, damaged, incomplete or unsafe."""


def directory(root: Path) -> Path:
    """Where the unpacked files are."""
    return root / "maf"


def download_path(root: Path) -> Path:
    """Where the archive is kept until it is unpacked."""
    return root / "downloads" / "maf-data.tar.gz"


def address(url: str | None = None) -> str:
    """Where the archive comes from: the argument, else SYMADJ_MAF_URL, else `URL`."""
    return url or os.environ.get(VARIABLE) or URL


def fetch(root: Path, url: str | None = None, md5: str | None = None) -> Path:
    """Downloads, checks and unpacks the archive; returns the directory of its files.

    A download that was cut off is taken up where it ended. The downloaded archive is removed once
    its files are unpacked; an archive given by its path stays.

    Args:
        root: the data directory.
        url: an address, or the path of the archive; None or "": SYMADJ_MAF_URL, else `URL`.
        md5: the archive's checksum; None or "": `MD5`.

    Raises:
        InputError: an address of an unknown kind.
        ArchiveError: a wrong checksum, an unsafe, damaged or incomplete archive; it is removed.
        SymadjError: no connection, a cut, a full disk; what has arrived is kept. The messages say
            what to do.
    """
    remove_abandoned(directory(root))
    if is_fetched(root):
        return directory(root)
    url, md5 = address(url), md5 or MD5
    local = Path(url.removeprefix("file://")).expanduser()
    if local.is_file():
        _check(local, url, md5)
        return unpack(local, root, url, md5)
    archive = download_path(root)
    if not archive.is_file():
        download(url, archive, "MAF archive")
    try:
        _check(archive, url, md5)
        unpacked = unpack(archive, root, url, md5)
    except ArchiveError:
        archive.unlink()
        raise
    archive.unlink()
    return unpacked


def _check(archive: Path, url: str, md5: str) -> None:
    found = checksum(archive)
    if found != md5.lower():
        raise ArchiveError(
            f"{url} is not the archive that was asked for: its MD5 is {found}, not {md5}. Nothing "
            f"was unpacked. Damaged on the way: run the same command again; another address: "
            f"{COMMAND} --url URL (or {VARIABLE}); an archive of your own: --md5 ITS_MD5."
        )


def is_fetched(root: Path) -> bool:
    """Whether the unpacked archive is there, with every file."""
    return all((directory(root) / name).is_file() for name in (MANIFEST, *FILES))


def unpack(archive: Path, root: Path, url: str, md5: str) -> Path:
    """Takes the tabular sets out of an archive whose checksum matched.

    Every member is judged by Python's "data" filter first: one that would land outside of the
    directory, or a special file, makes the whole archive refused.

    Raises:
        ArchiveError: it is unsafe, damaged or incomplete; nothing is left.
        SymadjError: a full disk; nothing is left.
    """
    if not hasattr(tarfile, "data_filter"):
        raise SymadjError(
            "this Python cannot unpack archives safely; update to its latest patch release."
        )
    make_directory(root)
    with new_directory(directory(root)) as temporary:
        try:
            files = dict(_extract(archive, temporary))
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise ArchiveError(f"{archive} is no whole tar archive ({error}).") from error
        if missing := [name for name in FILES if name not in files]:
            raise ArchiveError(f"{archive} lacks data/{', data/'.join(missing)}.")
        manifest = {"source": url, "md5": md5, "files": files}
        with open_to_write(temporary / MANIFEST) as file:
            write_block(file, json.dumps(manifest, indent=1).encode(), temporary / MANIFEST)
        move_directory(temporary, directory(root))
    return directory(root)


def _extract(archive: Path, target: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Writes the wanted members below target; yields their names, sizes and checksums."""
    wanted = {posixpath.join("data", name): name for name in FILES}
    with tarfile.open(archive, "r:*") as tar:
        for member in tar:
            _refuse_unsafe(member, archive, target)
            name = wanted.get(posixpath.normpath(member.name))
            if name is None:
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise ArchiveError(f"{archive}: {member.name} is no plain file; refused.")
            require_space(target, member.size)
            make_directory((target / name).parent)
            with source:
                yield name, {"size": member.size, "sha256": _copy(source, target / name)}


def _refuse_unsafe(member: tarfile.TarInfo, archive: Path, target: Path) -> None:
    try:
        tarfile.data_filter(member, str(target))
    except tarfile.FilterError as error:
        raise ArchiveError(
            f"{archive} was refused and nothing of it was kept: {error}. An honest archive has no "
            "such member; fetch it from another address."
        ) from error


def _copy(source: IO[bytes], path: Path) -> str:
    digest = hashlib.sha256()
    with open_to_write(path) as file:
        while block := source.read(CHUNK):
            digest.update(block)
            write_block(file, block, path)
    return digest.hexdigest()


def require(root: Path) -> None:
    """Raises InputError where the archive has not been fetched, with the command that does it."""
    if not is_fetched(root):
        elsewhere = "" if root == data_dir() else f" --data-dir {shlex.quote(str(root))}"
        raise InputError(
            f"the MAF archive is not in {root}. Fetch it (817 MB, once) by: {COMMAND}{elsewhere}"
        )


def raw_file(root: Path, name: str) -> Path:
    """A file of the unpacked archive.

    Args:
        root: the data directory.
        name: one of `FILES`.

    Raises:
        InputError: the archive has not been fetched.
    """
    require(root)
    return directory(root) / name


def verified_file(root: Path, name: str) -> Path:
    """A file of the archive that is, byte for byte, what was unpacked.

    Raises:
        InputError: as `raw_file`.
        SymadjError: the file was changed since.
    """
    path = raw_file(root, name)
    try:
        manifest = json.loads((directory(root) / MANIFEST).read_text(encoding="utf-8"))
        expected = manifest["files"][name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SymadjError(_changed(root, MANIFEST)) from error
    if checksum(path, "sha256") != expected:
        raise SymadjError(_changed(root, name))
    return path


def _changed(root: Path, name: str) -> str:
    return (
        f"{directory(root) / name} is not what the archive holds and is not opened. Remove "
        f"{directory(root)} and run `{COMMAND}` again."
    )
