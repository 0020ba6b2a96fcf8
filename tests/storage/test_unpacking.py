"""Unpacking a downloaded file: one file, of limited size, or a refusal."""

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from charlm.errors import CharlmError
from charlm.storage.fetching import FetchError
from charlm.storage.unpacking import unpack

TEXT = b"abba\n" * 1000


def archive(*names: str) -> bytes:
    """Return a .zip whose files all hold TEXT."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.writestr(name, b"" if name.endswith("/") else TEXT)
    return buffer.getvalue()


def unpacked(tmp_path: Path, data: bytes, name: str, *, limit: int = len(TEXT)) -> bytes:
    (tmp_path / "part").write_bytes(data)
    return b"".join(unpack(tmp_path / "part", name=name, limit=limit))


@pytest.mark.parametrize(
    ("data", "name"),
    [(TEXT, "a.txt"), (gzip.compress(TEXT), "a.gz"), (archive("a"), "a.zip"), (archive("d/", "d/../a"), "b.zip")],
    ids=["plain", "gzip", "zip", "a strange name"],
)
def test_the_contents_are_those_of_the_one_file(tmp_path: Path, data: bytes, name: str) -> None:
    assert unpacked(tmp_path, data, name) == TEXT
    assert [path.name for path in tmp_path.iterdir()] == ["part"]


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_an_archive_of_none_or_several_files_is_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(FetchError, match=rf"a\.zip: holds {len(names)} files; must hold one"):
        unpacked(tmp_path, archive(*names), "a.zip")


@pytest.mark.parametrize(
    ("data", "name"),
    [(gzip.compress(TEXT), "a.gz"), (archive("a"), "a.zip"), (TEXT, "a.txt")],
    ids=["gzip", "zip", "plain"],
)
def test_contents_that_are_too_long_are_refused(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(FetchError, match=r"unpacks to more than 4,999 bytes"):
        unpacked(tmp_path, data, name, limit=len(TEXT) - 1)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (TEXT, "a.zip"),
        (TEXT, "a.gz"),
        (archive("a")[:-30], "a.zip"),
        (gzip.compress(TEXT)[:-9], "a.gz"),
        (archive("a").replace(archive("a")[40:50], b"0123456789"), "a.zip"),
    ],
    ids=["no zip", "no gzip", "cut zip", "cut gzip", "changed zip"],
)
def test_a_damaged_file_is_refused(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(FetchError, match=f"{name}: damaged"):
        unpacked(tmp_path, data, name)


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CharlmError, match="nowhere: cannot be read"):
        list(unpack(tmp_path / "nowhere", name="a.txt", limit=9))
