"""Fetching a file: resumed, limited, and never outside the protocols that are allowed."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from web import Site, serving

from charlm.errors import CharlmError
from charlm.storage.fetching import FetchError, fetch

DATA = bytes(range(256)) * 1000


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site({"/data": DATA})) as site:
        yield site


def get(url: str, part: Path, *, limit: int = len(DATA), timeout_seconds: float = 10.0) -> list[tuple[int, int | None]]:
    """Fetch an address of loopback; return the progress that was told."""
    told: list[tuple[int, int | None]] = []
    fetch(
        url,
        part,
        limit=limit,
        on_progress=lambda now, total: told.append((now, total)),
        schemes=("http",),
        timeout_seconds=timeout_seconds,
    )
    return told


def test_a_file_arrives_whole_and_its_progress_is_told(site: Site, tmp_path: Path) -> None:
    told = get(site.url("/data"), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA
    assert told[-1] == (len(DATA), len(DATA))
    assert [now for now, _ in told] == sorted({now for now, _ in told})


def test_what_has_arrived_before_a_cut_is_kept_and_continued(site: Site, tmp_path: Path) -> None:
    site.cut_after = 100_000
    with pytest.raises(FetchError, match=r"/data: cut off after 100,000 of 256,000 bytes"):
        get(site.url("/data"), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA[:100_000]
    site.cut_after = None
    told = get(site.url("/data"), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA
    assert site.ranges == [None, "bytes=100000-"]
    assert told[0][0] > 100_000


@pytest.mark.parametrize("left", [DATA[:1000], DATA + b"more"], ids=["less", "more"])
def test_a_server_without_ranges_sends_everything_again(site: Site, tmp_path: Path, left: bytes) -> None:
    site.knows_ranges = False
    (tmp_path / "part").write_bytes(left)
    get(site.url("/data"), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA


def test_what_is_longer_than_the_file_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"x" * (len(DATA) + 5))
    get(site.url("/data"), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == DATA


def test_a_file_that_says_it_is_too_long_is_not_fetched(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"/data: 256,000 bytes; must be at most 255,999"):
        get(site.url("/data"), tmp_path / "part", limit=len(DATA) - 1)
    assert not (tmp_path / "part").exists()


def test_a_file_without_end_is_given_up_and_removed(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"/endless: more than 100,000 bytes"):
        get(site.url("/endless"), tmp_path / "part", limit=100_000)
    assert not (tmp_path / "part").exists()


def test_the_refusal_of_a_server_is_told(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"/missing: the server answers 404 Not Found"):
        get(site.url("/missing"), tmp_path / "part")


def test_a_redirect_to_another_protocol_is_refused(site: Site, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"/insecure: the address must begin with http://, not ftp://127"):
        get(site.url("/insecure"), tmp_path / "part")


@pytest.mark.parametrize("url", ["http://127.0.0.1/data", "file:///etc/hostname", "data:,x"])
def test_only_https_is_allowed_by_default(url: str, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="the address must begin with https://"):
        fetch(url, tmp_path / "part", limit=9, on_progress=lambda *_: None)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match="Connection refused"):
        get(f"http://127.0.0.1:{port}/", tmp_path / "part")


def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(FetchError, match="no answer in time"):
        get(f"http://127.0.0.1:{silent.getsockname()[1]}/", tmp_path / "part", timeout_seconds=0.1)


def test_a_place_that_cannot_be_written_is_not_blamed_on_the_server(site: Site, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere/part: cannot be written") as error:
        get(site.url("/data"), tmp_path / "nowhere/part")
    assert not isinstance(error.value, FetchError)
