"""Downloading a public text from a server on loopback."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from web import Site, serving

from charlm.api.download import Downloaded, download
from charlm.errors import CharlmError
from charlm.storage.atomic import sha256
from charlm.text.catalogue import PublicText

TEXT = b"abba\n" * 20_000


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("text8", data)
    return buffer.getvalue()


@pytest.fixture
def site() -> Iterator[Site]:
    files = {"/a.txt": TEXT, "/a.zip": zipped(TEXT), "/a.gz": gzip.compress(TEXT), "/other": TEXT[::-1], "/less": b"a"}
    with serving(Site(files)) as site:
        yield site


def get(
    site: Site,
    out: Path | None,
    *paths: str,
    checksum: str | None = None,
    size: int = len(TEXT),
    said: list[str] | None = None,
) -> Downloaded:
    """Download the text `abba`, which has these paths on the site."""
    text = PublicText("a test", size, tuple(map(site.url, paths)), checksum)
    say = (said if said is not None else []).append
    return download("abba", out, say=say, texts={"abba": text}, schemes=("http",))


@pytest.mark.parametrize("path", ["/a.txt", "/a.gz", "/a.zip"])
def test_a_text_is_written_whole_with_its_sha256(site: Site, tmp_path: Path, path: str) -> None:
    done = get(site, tmp_path / "a.txt", path)
    assert (tmp_path / "a.txt").read_bytes() == TEXT
    assert done == Downloaded(tmp_path / "a.txt", len(TEXT), sha256(TEXT), is_checked=False, url=site.url(path))
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt"]


def test_a_text_with_the_expected_sha256_counts_as_checked(site: Site, tmp_path: Path) -> None:
    assert get(site, tmp_path / "a.txt", "/a.zip", checksum=sha256(TEXT)).is_checked


def test_without_a_file_the_name_of_the_text_is_used(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert get(site, None, "/a.txt").path == Path("abba.txt")
    assert (tmp_path / "abba.txt").read_bytes() == TEXT


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("/missing", "the server answers 404 Not Found"),
        ("/other", "another text: its SHA-256 is"),
        ("/less", "1 bytes; must be 100,000"),
        ("/endless", "more than 100,000 bytes"),
    ],
)
def test_the_next_address_is_used_if_one_does_not_give_the_text(
    site: Site, tmp_path: Path, bad: str, reason: str
) -> None:
    said: list[str] = []
    done = get(site, tmp_path / "a.txt", bad, "/a.txt", checksum=sha256(TEXT), said=said)
    assert done.url == site.url("/a.txt")
    assert (tmp_path / "a.txt").read_bytes() == TEXT
    (line,) = said
    assert line.startswith(f"{site.url(bad)}: {reason}")


def test_if_no_address_gives_the_text_each_reason_is_told_and_nothing_is_written(site: Site, tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match=r"/missing: the server answers 404 Not Found; .*/other: another text"):
        get(site, tmp_path / "a.txt", "/missing", "/other", checksum=sha256(TEXT))
    assert not list(tmp_path.iterdir())


def test_a_download_that_was_cut_off_is_continued_by_the_next(site: Site, tmp_path: Path) -> None:
    site.cut_after = 30_000
    with pytest.raises(CharlmError, match="cut off after 30,000 of 100,000 bytes"):
        get(site, tmp_path / "a.txt", "/a.txt")
    assert [found.name for found in tmp_path.iterdir()] == ["a.txt.part"]
    site.cut_after = None
    get(site, tmp_path / "a.txt", "/a.txt", checksum=sha256(TEXT))
    assert (tmp_path / "a.txt").read_bytes() == TEXT
    assert site.ranges[-1] == "bytes=30000-"


def test_what_was_left_of_another_text_is_not_continued_for_good(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.txt.part").write_bytes(b"other")
    get(site, tmp_path / "a.txt", "/a.txt", "/a.txt", checksum=sha256(TEXT))
    assert (tmp_path / "a.txt").read_bytes() == TEXT


def test_a_file_that_exists_is_not_overwritten(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"mine")
    with pytest.raises(CharlmError, match=r"a\.txt: exists already; name another file"):
        get(site, tmp_path / "a.txt", "/a.txt")
    assert ((tmp_path / "a.txt").read_bytes(), site.ranges) == (b"mine", [])


@pytest.mark.parametrize(
    ("name", "advice"), [("tinyshakespear", "did you mean tinyshakespeare?"), ("xyzzy", "there are tinyshakespeare")]
)
def test_an_unknown_name_is_refused_with_those_that_there_are(name: str, advice: str) -> None:
    with pytest.raises(CharlmError, match=f"'{name}': no such text; {advice}".replace("?", r"\?")):
        download(name)
