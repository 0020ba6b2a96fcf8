"""A server on loopback that gives files as a good server does, or as a bad one."""

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BLOCK = b"x" * 1024


@dataclass
class Site:
    """What a server gives, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    """Contents by path. `/missing` does not exist, `/endless` has no end, `/insecure` redirects to an ftp: address."""
    cut_after: int | None = None
    """The server breaks off after so many bytes of an answer."""
    knows_ranges: bool = True
    ranges: list[str | None] = field(default_factory=list)
    """The header Range of each request."""
    address: str = ""

    def url(self, path: str) -> str:
        """Return the address of a path."""
        return f"{self.address}{path}"


@contextlib.contextmanager
def serving(site: Site) -> Iterator[Site]:
    """Serve a site on loopback for the length of a block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.ranges.append(self.headers.get("Range"))
            with contextlib.suppress(OSError):
                self.answer()

        def answer(self) -> None:
            if self.path == "/endless":
                self.head(200)
                while True:
                    self.wfile.write(BLOCK)
            if self.path == "/insecure":
                self.head(302, Location="ftp://127.0.0.1/a")
                return
            if self.path not in site.files:
                self.send_error(404)
                return
            data, start = site.files[self.path], 0
            found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            if found and site.knows_ranges:
                start = int(found[1])
                if start >= len(data):
                    self.send_error(416)
                    return
            headers = {"Content_Length": str(len(data) - start)}
            if start:
                headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.head(206 if start else 200, **headers)
            self.wfile.write(data[start:][: site.cut_after])

        def head(self, code: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
