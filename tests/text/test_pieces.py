"""Documents cut into pieces: where a cut is allowed, and how pieces make batches."""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from charlm.config.schema import CorpusConfig
from charlm.text.documents import Document
from charlm.text.pieces import BATCH_PIECES, Piece, cut_document, cut_documents, make_batches


def pieces_of(path: Path, data: bytes, *, piece_bytes: int, **settings: Any) -> list[bytes]:
    """Return the bytes of each piece into which a file with this contents is cut."""
    path.write_bytes(data)
    document = Document(path.name, path)
    pieces = cut_document(document, size=len(data), config=CorpusConfig(**settings), piece_bytes=piece_bytes)
    return [b"".join(document.read(advance=lambda _: None, start=one.start, end=one.end)) for one in pieces]


def test_a_document_is_cut_into_pieces_of_the_size_asked_for(tmp_path: Path) -> None:
    assert pieces_of(tmp_path / "a.txt", b"abcdefgh", piece_bytes=3) == [b"abc", b"def", b"gh"]


def test_a_character_is_never_cut(tmp_path: Path) -> None:
    pieces = pieces_of(tmp_path / "a.txt", "aé中😀é".encode(), piece_bytes=2)
    assert [piece.decode() for piece in pieces] == ["aé", "中", "😀", "é"]


def test_a_character_is_not_cut_from_the_marks_that_a_normal_form_joins_to_it(tmp_path: Path) -> None:
    text = "e\u0301e\u0301 e\u0301"
    pieces = pieces_of(tmp_path / "a.txt", text.encode(), piece_bytes=1, normalize="NFC")
    assert [piece.decode() for piece in pieces] == ["e\u0301", "e\u0301", " ", "e\u0301"]


def test_ascii_characters_never_combine_with_the_character_before_them() -> None:
    for form in ("NFC", "NFKC"):
        for code_point in (*range(0x300), *range(0x1100, 0x1200), *range(0x3040, 0x3100), 0xAC00):
            before = unicodedata.normalize(form, chr(code_point))
            for after in map(chr, range(128)):
                assert unicodedata.normalize(form, chr(code_point) + after) == before + after


def test_a_place_for_a_cut_is_searched_beyond_one_block(tmp_path: Path) -> None:
    text = "é" * 70_000 + "a" + "é" * 10
    first, second = pieces_of(tmp_path / "a.txt", text.encode(), piece_bytes=10, normalize="NFC")
    assert (first.decode(), second.decode()) == ("é" * 70_000, "a" + "é" * 10)


@pytest.mark.parametrize(
    ("name", "data", "settings"),
    [
        ("a.txt", "abcdef".encode("utf-16"), {"encoding": "utf-16"}),
        ("a.txt", "中文字符".encode("gb18030"), {"encoding": "gb18030"}),
        ("a.txt", "éééé".encode(), {"normalize": "NFC"}),
        ("a.txt", b"ab", {}),
        ("a.zst", zstd.compress(b"abcdefgh"), {}),
    ],
    ids=["an encoding with a mark", "an encoding without marks", "no place", "small", "compressed"],
)
def test_what_cannot_be_cut_is_one_piece(tmp_path: Path, name: str, data: bytes, settings: dict[str, Any]) -> None:
    (tmp_path / name).write_bytes(data)
    document = Document(name, tmp_path / name)
    config = CorpusConfig(**settings)
    (piece,) = cut_document(document, size=len(data), config=config, piece_bytes=3)
    assert (piece.document, piece.start, piece.end, piece.is_whole) == (document, 0, None, True)


def test_any_byte_may_start_a_piece_at_level_byte(tmp_path: Path) -> None:
    data = "中文".encode()
    assert pieces_of(tmp_path / "a", data, piece_bytes=2, level="byte") == [data[:2], data[2:4], data[4:]]


def test_the_sizes_of_the_pieces_add_up_to_the_files(tmp_path: Path) -> None:
    documents = []
    for name, size in (("a", 10), ("b", 0), ("c", 3)):
        (tmp_path / name).write_bytes(b"x" * size)
        documents.append(Document(name, tmp_path / name))
    cut = list(cut_documents(documents, CorpusConfig(), piece_bytes=4))
    assert [(piece.document.name, size) for piece, size in cut] == [("a", 4), ("a", 4), ("a", 2), ("b", 0), ("c", 3)]


def test_a_batch_is_full_by_its_bytes_or_by_the_number_of_its_pieces() -> None:
    piece = Piece(Document("a", Path("a")))
    by_bytes = make_batches([(piece, size) for size in (3, 3, 1, 9, 2)], batch_bytes=5)
    assert [batch.file_bytes for batch in by_bytes] == [6, 10, 2]
    by_number = make_batches([(piece, 0)] * (BATCH_PIECES + 1))
    assert [len(batch.pieces) for batch in by_number] == [BATCH_PIECES, 1]
