"""Downloading public texts: the only part of charlm that reaches out to a network.

`charlm.text.catalogue` has the texts and their addresses.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from charlm.errors import CharlmError, nearest, shorten
from charlm.storage.atomic import open_aside
from charlm.storage.fetching import SCHEMES, FetchError, fetch
from charlm.storage.unpacking import unpack
from charlm.text.catalogue import PUBLIC_TEXTS, PublicText


@dataclass(frozen=True)
class Downloaded:
    """A text that has been downloaded."""

    path: Path
    bytes: int
    sha256: str
    is_checked: bool
    """Whether the SHA-256 is known to be that of the text; if not, only its size was compared."""
    url: str
    """Where it came from."""


def download(
    name: str,
    out: str | Path | None = None,
    *,
    say: Callable[[str], None] = lambda _: None,
    show_progress: bool = False,
    texts: Mapping[str, PublicText] = PUBLIC_TEXTS,
    schemes: tuple[str, ...] = SCHEMES,
) -> Downloaded:
    """Download a public text from the first of its addresses that gives it.

    What has arrived is kept beside `out`, with `.part` at the end of its name, until the text is complete; the next
    call continues it.

    Args:
        name: A name of PUBLIC_TEXTS.
        out: The file to write, which must not exist; None = NAME.txt in the current folder.
        say: Takes a line for the user: why an address did not give the text, if another one did.
        show_progress: Whether to show a bar on standard error.
        texts: The texts by name.
        schemes: The protocols that addresses may have.

    Raises:
        CharlmError: there is no such text, `out` exists or cannot be written, or no address gives the text.

    """
    if name not in texts:
        near = nearest(name, texts)
        advice = f"did you mean {near}?" if near else f"there are {', '.join(texts)}"
        raise CharlmError(f"{shorten(name)}: no such text; {advice}")
    text, target = texts[name], Path(f"{name}.txt") if out is None else Path(out)
    if os.path.lexists(target):
        raise CharlmError(f"{target}: exists already; name another file with --out, or delete this one")
    part = target.with_name(f"{target.name}.part")
    failures: list[str] = []
    for url in text.mirrors:
        try:
            with tqdm(desc=name, unit="B", unit_scale=True, disable=not show_progress) as bar:
                fetch(url, part, limit=text.bytes, on_progress=_show_on(bar), schemes=schemes)
            done = _put_in_place(text, url, part, target)
        except FetchError as error:
            failures.append(str(error))
        else:
            for failure in failures:
                say(failure)
            return done
    raise CharlmError("; ".join(failures))


def _show_on(bar: "tqdm[NoReturn]") -> Callable[[int, int | None], None]:
    def show(done: int, total: int | None) -> None:
        """Show how many bytes have arrived."""
        bar.total = total
        bar.update(done - bar.n)

    return show


def _put_in_place(text: PublicText, url: str, part: Path, target: Path) -> Downloaded:
    """Unpack what has arrived, check it, and write it as the target; raise FetchError and remove it if it is wrong."""
    digest, size = hashlib.sha256(), 0
    try:
        with open_aside(target) as write:
            for block in unpack(part, name=url, limit=text.bytes):
                digest.update(block)
                size += len(block)
                write(block)
            if size != text.bytes:
                raise FetchError(f"{url}: {size:,} bytes; must be {text.bytes:,}")
            if text.sha256 not in (None, digest.hexdigest()):
                raise FetchError(f"{url}: another text: its SHA-256 is {digest.hexdigest()}, not {text.sha256}")
    except FetchError:
        part.unlink()
        raise
    part.unlink()
    return Downloaded(target, size, digest.hexdigest(), text.sha256 is not None, url)
