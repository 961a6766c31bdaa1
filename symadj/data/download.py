"""Downloads over HTTP that go on where they were cut off."""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Protocol

from tqdm import tqdm

from symadj.data.disk import CHUNK, make_directory, open_to_write, require_space, write_block
from symadj.errors import InputError, SymadjError
from symadj.units import format_bytes

TIMEOUT = 60.0
ATTEMPTS = 5


class _Cut(Exception):
    """The connection ended before the file did."""


class _NothingLeft(Exception):
    """Nothing lies behind what is there already, the server says; `total`: the file's length."""

    def __init__(self, total: int | None) -> None:
        super().__init__(total)
        self.total = total


class _Readable(Protocol):
    def read(self, amount: int, /) -> bytes: ...


def download(url: str, target: Path, label: str) -> None:
    """Fetches a file over HTTP, going on where an earlier download was cut off.

    What has arrived is kept in `target` + ".part". A connection that is cut is taken up again as
    long as every attempt brings something, a few times; so is the .part file of an earlier call.
    Whether the bytes are the right ones is left to the caller's checksum.

    Args:
        url: http:// or https://.
        target: the file to make.
        label: stands in front of the progress bar (standard error, on a terminal only).

    Raises:
        InputError: an address of another kind.
        SymadjError: no connection, an answer that is none, a cut, a full disk; what has arrived
            is kept.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise InputError(f"{url}: neither an http(s) address nor a file that exists.")
    part = target.with_name(f"{target.name}.part")
    make_directory(target.parent)
    for attempt in range(1, ATTEMPTS + 1):
        before = _size(part)
        try:
            _receive(url, part, label)
            break
        except _Cut as cut:
            if attempt == ATTEMPTS or _size(part) <= before:
                raise SymadjError(
                    f"the download of {url} was cut off after {format_bytes(_size(part))} ({cut}). "
                    "Run the same command again: it goes on from there."
                ) from cut
    os.replace(part, target)


def _receive(url: str, part: Path, label: str) -> None:
    """Appends to the .part file until the whole file is there."""
    have = _size(part)
    try:
        response = _open(url, have)
    except _NothingLeft as answer:
        if answer.total == have:
            return
        part.unlink()  # longer than the file is: of another one
        have, response = 0, _open(url, 0)
    with response:
        start, total = _extent(response, have)
        if total is not None:
            require_space(part.parent, total - start)
        _append(response, part, start, total, label)


def _open(url: str, have: int) -> http.client.HTTPResponse:
    """Asks for the file from position `have` on."""
    headers = {"User-Agent": "symadj", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and have:
                raise _NothingLeft(_total(error.headers.get("Content-Range"))) from error
            raise SymadjError(
                f"{url} answers {error.code} {error.reason}. Check the address, or give another "
                "one (or a file you have already) by --url."
            ) from error
    except (OSError, http.client.HTTPException) as error:
        raise SymadjError(
            f"{url} cannot be reached: {_reason(error)}. Check the connection and run the same "
            "command again, or give another address (or a file you have already) by --url."
        ) from error


def _extent(response: http.client.HTTPResponse, have: int) -> tuple[int, int | None]:
    """Where in the file the answer starts and how long the file is (None: not said)."""
    if response.status == 206:
        content_range = response.headers.get("Content-Range")
        if content_range and content_range.startswith(f"bytes {have}-"):
            return have, _total(content_range)
        raise SymadjError(f"the server answers with the range {content_range!r}, not from {have}.")
    length = response.headers.get("Content-Length")
    return 0, int(length) if length and length.isdigit() else None


def _total(content_range: str | None) -> int | None:
    found = re.fullmatch(r"bytes (?:\d+-\d+|\*)/(\d+)", content_range or "")
    return int(found[1]) if found else None


def _append(
    response: http.client.HTTPResponse, part: Path, start: int, total: int | None, label: str
) -> None:
    # disable=None: no bar where standard error is no terminal.
    bar = tqdm(
        total=total, initial=start, desc=label, unit="B", unit_scale=True, unit_divisor=1024,
        dynamic_ncols=True, disable=None,
    )  # fmt: skip
    with bar, open_to_write(part, append=start > 0) as file:
        while block := _read(response):
            write_block(file, block, part)
            bar.update(len(block))
    if total is not None and _size(part) < total:
        raise _Cut(f"{format_bytes(_size(part))} of {format_bytes(total)} arrived")


def _read(response: _Readable) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(_reason(error)) from error


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
