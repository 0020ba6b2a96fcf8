"""Possible problems in a text."""

import random
from pathlib import Path

import pytest
from corpora import make_corpus, write_texts

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import CorpusConfig
from charlm.text.findings import find_omissions, find_problems
from charlm.text.tokenization import tokenize


def look(folder: Path, *texts: str | bytes) -> list[str]:
    return find_problems(make_corpus(folder, *texts))


def test_nothing_is_found_in_the_plays(tmp_path: Path) -> None:
    assert look(tmp_path, DEFAULT_CORPUS.read_bytes()) == []


def test_rare_characters_are_counted_and_named_with_the_key_that_decides(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, "ab" * 98 + "éé" + "\x85e", min_count=3)
    (found,) = find_omissions(corpus)
    assert found == (
        "rare characters: 3 of 5 share the unknown id, 2.00% of the text; the commonest are 'é', 'e', '\\x85'; "
        "corpus.min_count=3 decides it, and -s corpus.min_count=1 keeps all"
    )
    assert found in find_problems(corpus)


def test_files_that_are_left_out_are_named_but_hidden_ones(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba", b"\xff", "")
    (sources / ".git").mkdir()
    (found,) = find_omissions(tokenize([str(sources)], tmp_path / "out", CorpusConfig()))
    names = f"{sources}/01.txt (not valid utf-8 at byte 0 (0xFF)), {sources}/02.txt (empty)"
    assert found == f"files: 2 left out: {names}; if a file is text, convert it to utf-8"


@pytest.mark.parametrize(
    ("length", "new", "is_found"),
    [(20_000, 10, False), (20_000, 11, True), (5000, 4, False), (5000, 5, True)],  # 0.5% of a tenth, and five
)
def test_a_validation_text_with_characters_that_are_new_is_of_another_kind(
    length: int, new: int, is_found: bool, tmp_path: Path
) -> None:
    text = "".join(random.Random(0).choices("abcdefgh", k=length))
    found = look(tmp_path, text[:-new] + new * "z")
    found = [line for line in found if not line.startswith("length: ")]
    assert [line.partition(":")[0] for line in found] == ["validation text"] * is_found
    assert all("do not occur before it, 'z';" in line for line in found)


@pytest.mark.parametrize(("length", "is_found"), [(22_222, True), (22_223, False)])
def test_a_text_is_short_if_it_has_less_than_20000_characters_of_training(
    length: int, is_found: bool, tmp_path: Path
) -> None:
    found = look(tmp_path, "".join(random.Random(0).choices("abcdefgh", k=length)))
    assert [line.partition(" characters")[0] for line in found] == ["length: 19,999"] * is_found


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("a   b" * 90, None),
        ("    ab" * 90, "67%"),
        ("ab    " + "c" * 60, None),
        ("    a" + "c" * 30, "11%"),
        ("    " + "c" * 36, None),
    ],
)
def test_rows_of_blanks_are_found_if_they_are_more_than_a_tenth(text: str, share: str | None, tmp_path: Path) -> None:
    found = [line.partition(";")[0] for line in look(tmp_path, text * 20) if line.startswith("blanks")]
    assert found == ([] if share is None else [f"blanks: {share} of the characters are in rows of 4 and more"])
