"""Possible problems in the text of a corpus."""

import random
import re
from pathlib import Path

import pytest
from corpora import make_corpus, write_texts

from charlm.config.recipes import DEFAULT_CORPUS
from charlm.config.schema import CorpusConfig
from charlm.text.corpus import Corpus
from charlm.text.findings import find_omissions, find_problems
from charlm.text.tokenization import tokenize

# Omissions


@pytest.fixture
def with_rare_characters(tmp_path: Path) -> Corpus:
    """Return a corpus with an unknown id."""
    return make_corpus(tmp_path, "ab" * 98 + "éé" + "\x85e", min_count=3)


def test_rare_characters_are_reported(with_rare_characters: Corpus) -> None:
    assert list(find_omissions(with_rare_characters)) == [
        "rare characters: 3 of 5 share the unknown id, 2.00% of the text; "
        "most common: 'é', 'e', '\\x85'; "
        "corpus.min_count=3 sets the limit, corpus.min_count=1 keeps all"
    ]


def test_an_omission_is_a_problem(with_rare_characters: Corpus) -> None:
    (omission,) = find_omissions(with_rare_characters)
    assert omission in find_problems(with_rare_characters)


def test_files_that_are_left_out_are_reported_except_hidden_ones(tmp_path: Path) -> None:
    sources = write_texts(tmp_path, "abba", b"\xff", "")
    (sources / ".git").mkdir()
    corpus = tokenize([str(sources)], tmp_path / "out", CorpusConfig())
    invalid = f"{sources}/01.txt (not valid utf-8 at byte 0 (0xFF))"
    empty = f"{sources}/02.txt (empty)"
    assert list(find_omissions(corpus)) == [
        f"files: 2 left out: {invalid}, {empty}; if a file is text, convert it to utf-8"
    ]


# Problems


def letters(length: int) -> str:
    """Return a text of eight letters."""
    return "".join(random.Random(0).choices("abcdefgh", k=length))


INDENTED = "    " + "c" * 36
"""A line in which 10% of the characters are spaces."""


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(letters(23_000 - 72) + 72 * "z", id="few new characters at the end"),
        pytest.param(letters(22_223), id="20,000 characters for training"),
        pytest.param(DEFAULT_CORPUS.read_text(encoding="utf-8"), id="the plays"),
        pytest.param(("a" * 198 + "\r\n") * 150, id="few Windows line endings"),
        pytest.param(letters(23_000) + "\r", id="a line ending without a line break"),
        pytest.param("a   b" * 5000, id="three spaces"),
        pytest.param(INDENTED * 600, id="less than 10% spaces"),
    ],
)
def test_a_good_text_has_no_problems(text: str, tmp_path: Path) -> None:
    assert find_problems(make_corpus(tmp_path, text)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            letters(23_000 - 73) + 73 * "z",
            "validation text: .* has more 'z' than the rest; list the files in another",
            id="new characters at the end",
        ),
        pytest.param(
            letters(20_700) + 2300 * "a",
            "validation text: .* has more 'a' than the rest; ",
            id="known characters at the end",
        ),
        pytest.param(
            letters(18_000) + 2000 * "z", "length: 18,000 characters", id="short, a different end"
        ),
        pytest.param(letters(22_222), "length: 19,999 characters", id="short"),
        pytest.param(
            "abcdefg\r\n" * 2600,
            r"line endings: \\r\\n.* tr -d '\\r' < FILE > NEW",
            id="Windows line endings",
        ),
        pytest.param(
            ("a" * 197 + "\r\n") * 150, "line endings: ", id="enough Windows line endings"
        ),
        pytest.param("    ab" * 4000, "spaces: 67% .* in groups of 4", id="many spaces"),
        pytest.param(("c" * 35 + "    ") * 600, "spaces: 10%", id="enough spaces"),
    ],
)
def test_a_problem_is_reported(text: str, problem: str, tmp_path: Path) -> None:
    (message,) = find_problems(make_corpus(tmp_path, text))
    assert re.match(problem, message)


def test_a_text_of_several_blocks_can_have_several_problems(tmp_path: Path) -> None:
    text = "ab" * 700_000 + "    ab" * 200_000
    spaces, validation = find_problems(make_corpus(tmp_path, text))
    assert spaces.startswith("spaces: 27%")
    assert validation.startswith("validation text")


def test_many_spaces_can_be_replaced_by_tabs(tmp_path: Path) -> None:
    (problem,) = find_problems(make_corpus(tmp_path, "    ab" * 4000))
    assert "indent with tabs" in problem
    assert problem.endswith("compare total bits, not the loss per character, with the old text")
