"""Fetching a file by HTTPS: what has arrived is kept, and continued by the next attempt.

A server may send anything, at any pace, and break off at any byte: the size is limited, no read waits for ever, and a
redirect does not leave HTTPS.
"""

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from charlm import __version__
from charlm.errors import CharlmError
from charlm.storage.atomic import writing

BLOCK_BYTES = 1 << 16
TIMEOUT_SECONDS = 30.0
"""How long a connection, or the next bytes of it, may take."""
SCHEMES = ("https",)

OnProgress = Callable[[int, int | None], None]
"""Is called with the bytes that have arrived, and how many there will be; None = the server has not said."""


class FetchError(CharlmError):
    """An address does not give the file; another one may."""


def fetch(
    url: str,
    part: Path,
    *,
    limit: int,
    on_progress: OnProgress,
    schemes: tuple[str, ...] = SCHEMES,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> None:
    """Fetch a file; what an earlier attempt has left in `part` is continued if the server can do that.

    Args:
        url: Its address.
        part: The file to write. It stays if the attempt fails, for the next one.
        limit: The most bytes that the file may have.
        on_progress: Is called after each block.
        schemes: The protocols that the address, and those it redirects to, may have.
        timeout_seconds: How long to wait for the server.

    Raises:
        FetchError: the server cannot be reached, refuses, sends more than `limit` or less than it said, or does not
            answer in time; the message starts with the address.
        CharlmError: `part` cannot be written.

    """
    with writing(part):
        start = part.stat().st_size if part.exists() else 0
    try:
        with _open(url, start=start, schemes=schemes, timeout_seconds=timeout_seconds) as response:
            start = _resumed_at(response, start)
            length = response.headers.get("Content-Length", "")
            total = start + int(length) if re.fullmatch(r"\d{1,18}", length) else None
            if total is not None and total > limit:
                raise FetchError(f"{url}: {total:,} bytes; must be at most {limit:,}")
            size = _append(_blocks(response), part, start, limit=limit, on_progress=lambda now: on_progress(now, total))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchError(f"{url}: {_reason(error)}") from None
    if size > limit:
        part.unlink()
        raise FetchError(f"{url}: more than {limit:,} bytes")
    if total is not None and size < total:
        raise FetchError(f"{url}: cut off after {size:,} of {total:,} bytes")


def _open(url: str, *, start: int, schemes: tuple[str, ...], timeout_seconds: float) -> Any:
    """Return the response to a request for a file from a byte on; if it has no more bytes, to one for all of it."""
    _check_scheme(url, schemes)
    headers = {"User-Agent": f"charlm/{__version__}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    opener = urllib.request.build_opener(_Redirects(schemes))
    try:
        return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout_seconds)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, start=0, schemes=schemes, timeout_seconds=timeout_seconds)
        raise


def _resumed_at(response: Any, start: int) -> int:
    """Return the byte that a response begins with: `start`, or 0 if the server sends the whole file."""
    if response.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = response.headers.get("Content-Range", "")
    if not found.startswith(f"bytes {start}-"):
        raise ValueError(f"the server continues with {found!r}, not at byte {start}")
    return start


def _blocks(response: IO[bytes]) -> Iterator[bytes]:
    while block := response.read(BLOCK_BYTES):
        yield block


def _append(blocks: Iterator[bytes], part: Path, start: int, *, limit: int, on_progress: Callable[[int], None]) -> int:
    """Write blocks to a file from a byte on, as long as it has at most `limit` bytes; return its size and the rest."""
    size = start
    with writing(part):
        file = part.open("ab")
    with file:
        file.truncate(start)
        for block in blocks:
            size += len(block)
            if size > limit:
                break
            with writing(part):
                file.write(block)
                file.flush()
            on_progress(size)
    return size


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to some protocols only."""

    def __init__(self, schemes: tuple[str, ...]) -> None:
        self._schemes = schemes

    def redirect_request(self, *arguments: Any) -> Any:
        """Return the request to follow a redirect with; the last argument is its address."""
        _check_scheme(arguments[-1], self._schemes)
        return super().redirect_request(*arguments)


def _check_scheme(url: str, schemes: tuple[str, ...]) -> None:
    if urlsplit(url).scheme not in schemes:
        raise ValueError(f"the address must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}, not {url}")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        error = error.reason if isinstance(error.reason, OSError) else error
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
