"""Sources named by the user -> documents -> blocks of bytes."""

import gzip
import io
import os
import random
import re
import sys
from pathlib import Path

import pytest

from charlm.errors import CharlmError, harmless
from charlm.text.documents import Document, find_documents


def find(*sources: str | Path) -> list[str]:
    """Return the last part of the name of each document that these sources name."""
    documents = find_documents([str(source) for source in sources], spool=Path("not needed"))
    return [Path(document.name).name for document in documents]


def read(path: Path, *, block_bytes: int = 1000) -> bytes:
    return b"".join(Document(path.name, path).read(block_bytes=block_bytes))


# Finding


def test_a_folder_is_walked_in_sorted_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/10.txt", "c/d/e.txt", ".hidden", ".git/config"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert find(tmp_path) == ["10.txt", "2.txt", "b.txt", "e.txt"]


def test_a_file_named_several_times_is_found_once(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.touch()
    (tmp_path / "link.txt").symlink_to(file)
    assert find(file, tmp_path, file, tmp_path / "*.txt") == ["a.txt"]


def test_links_that_form_a_circle_are_followed_once(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "up").symlink_to(tmp_path)
    assert find(tmp_path) == ["a.txt"]
    assert find(f"{tmp_path}/**/*.txt") == ["a.txt"]


def test_a_name_that_is_not_utf_8_is_shown_with_escapes(tmp_path: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")).touch()
    except OSError:
        pytest.skip("this file system allows only UTF-8 names")
    assert find(tmp_path) == ["caf\\xe9"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        *((missing, "no such file or folder") for missing in ("none.txt", "", "none\0.txt")),
        *((pattern, "no file or folder matches this pattern") for pattern in ("none*.txt", "none/[a")),
    ],
)
def test_a_missing_source_is_named(source: str, reason: str) -> None:
    with pytest.raises(CharlmError, match=f"^{re.escape(f'{harmless(source)}: {reason}')}$"):
        find(source)


def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CharlmError, match="fifo: is not a regular file; use - for standard input"):
        find(tmp_path / "fifo")


def test_standard_input_is_copied_to_the_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\x1f\x8b not gzip")))
    [document] = find_documents(["-", "-"], spool=tmp_path / "spool")
    assert (document.name, read(document.path)) == ("-", b"\x1f\x8b not gzip")


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CharlmError, match=r"^-: standard input is closed"):
        find("-")


# Reading


def test_a_gz_file_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one") + gzip.compress(b"two"))
    assert read(path) == b"onetwo"


def test_progress_adds_up_to_the_size_of_the_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(random.Random(0).randbytes(3_000_000)))
    steps: list[int] = []
    blocks = list(Document("a", path).read(advance=steps.append, block_bytes=1_000_000))
    assert [len(block) for block in blocks] == [1_000_000] * 3
    assert len(steps) == 3
    assert sum(steps) == path.stat().st_size


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip at all",
        gzip.compress(b"text" * 1000)[:-20],
        gzip.compress(b"text")[:-8] + bytes(8),
    ],
    ids=["other data", "cut short", "wrong checksum"],
)
def test_a_damaged_gz_file_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(data)
    with pytest.raises(CharlmError, match=r"^a\.gz: not a complete gzip file: .+$"):
        read(path)
