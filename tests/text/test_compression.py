"""Compressed files: their formats, and what is said of damaged ones."""

import gzip
import io
from pathlib import Path

import pytest
from backports import zstd

from charlm.errors import CharlmError
from charlm.text.compression import find_compression
from charlm.text.documents import Document


def read(path: Path, *, block_bytes: int = 1000) -> bytes:
    return b"".join(Document(path.name, path).read(advance=lambda _: None, block_bytes=block_bytes))


@pytest.mark.parametrize(
    ("name", "expected"), [("a.gz", "gzip"), ("a.txt.GZ", "gzip"), ("a.zst", "Zstandard"), ("zst", None), ("a", None)]
)
def test_the_end_of_the_name_tells_the_format(name: str, expected: str | None) -> None:
    found = find_compression(Path(name))
    assert (found and found.name) == expected


def test_a_zst_file_of_several_frames_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    path.write_bytes(zstd.compress(b"one") + zstd.compress(b"two"))
    assert read(path) == b"onetwo"


def test_a_small_file_that_decompresses_to_much_is_read_in_blocks(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(zstd.compress(bytes(30_000_000)))
    assert path.stat().st_size < 10_000
    blocks = Document("a", path).read(advance=lambda _: None, block_bytes=1 << 20)
    assert [len(next(blocks)) for _ in range(3)] == [1 << 20] * 3


WHOLE = zstd.compress(b"text" * 1000)


@pytest.mark.parametrize(
    "data",
    [b"no zst at all", WHOLE[:-3], WHOLE[:8] + b"\xff" * 20, zstd.compress(b"text") + gzip.compress(b"text")],
    ids=["other data", "cut short", "broken inside", "followed by other data"],
)
def test_a_damaged_zst_file_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(data)
    with pytest.raises(CharlmError, match=r"^a\.zst: not a complete Zstandard file: .+$"):
        read(path)


def test_a_window_of_more_than_128_mib_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.content_size_flag: 0}
    whole = io.BytesIO()
    with zstd.ZstdFile(whole, "w", options=options) as file:
        file.write(b"text")
    path.write_bytes(whole.getvalue())
    with pytest.raises(CharlmError, match=r"not a complete Zstandard file: .*memory"):
        read(path)
