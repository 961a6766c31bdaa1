"""A small HTTP server on this machine that serves files, ranges of them, and cut connections."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Site:
    """What the server serves and how it misbehaves.

    Attributes:
        files: path -> content.
        cuts: bytes after which the next answers break off, one entry an answer; None: none.
        ranges: whether range requests are understood.
        says_length: whether answers carry a Content-Length.
        asked: the Range headers of all requests ("" where there was none).
        address: of the server, without a path.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int | None] = field(default_factory=list)
    ranges: bool = True
    says_length: bool = True
    asked: list[str] = field(default_factory=list)
    address: str = ""


@contextmanager
def serve() -> Iterator[Site]:
    """Runs the server in a thread while the block runs."""
    site = Site()
    server = _Server(("127.0.0.1", 0), _handler(site))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that hangs up before the end is part of the tests


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            site.asked.append(asked)
            content = site.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(asked[len("bytes=") : -1]) if asked and site.ranges else 0
            if asked and site.ranges and not re.fullmatch(r"bytes=\d+-", asked):
                self.send_error(400)
            elif start >= len(content) > 0:
                self._head(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            else:
                self._send(content, start)

        def _send(self, content: bytes, start: int) -> None:
            headers = {"Content-Length": str(len(content) - start)} if site.says_length else {}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self._head(206 if start else 200, headers)
            cut = site.cuts.pop(0) if site.cuts else None
            self.wfile.write(content[start:][:cut])

        def _head(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
